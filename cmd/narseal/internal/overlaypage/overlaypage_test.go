package overlaypage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/cachetest"
	"narseal/nar/compression"
)

const (
	key      = "fix-1:tLAEn+EeaBUJYqEpTd2yeerr7Ic6+0vWe+aXL/vYUpE="
	otherKey = "other-1:tLAEn+EeaBUJYqEpTd2yeerr7Ic6+0vWe+aXL/vYUpE="
)

func overlay(t *testing.T, bases ...string) map[string]string {
	t.Helper()
	var paths []cachetest.Path
	for _, base := range bases {
		paths = append(paths, cachetest.Path{Base: base, NAR: []byte("x")})
	}
	objects, err := cachetest.Objects(paths...)
	if err != nil {
		t.Fatal(err)
	}
	objects["nix-cache-info"] = "StoreDir: /nix/store\nPriority: 30\n"
	return objects
}

func base(c, name string) string { return strings.Repeat(c, 32) + "-" + name }

func TestWrite(t *testing.T) {
	s := cachetest.NewMemory(overlay(t, base("2", "b-1.0"), base("3", "a+b")))
	p := &Page{Input: `https://cache.example.org?<script>"`, Keys: []string{key}, Version: "1.0", Now: time.Unix(0, 0)}
	if err := Write(t.Context(), s, p); err != nil {
		t.Fatal(err)
	}
	objects := s.Objects()
	if objects[KeysName] != key+"\n" {
		t.Errorf("keys: %q", objects[KeysName])
	}
	text := objects[PageName]
	for _, want := range []string{
		"with 2 store paths", "since " + time.Now().UTC().Format("2006-01-"), "extra-trusted-public-keys = fix-1:", "nixConfig",
		"<td>/nix/store/" + base("2", "b-1.0") + "</td>", "curl <span", strings.Repeat("3", 32) + ".narinfo", "1970-01-01 00:00 UTC",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Index(text, "a&#43;b") > strings.Index(text, "b-1.0</td>") {
		t.Error("not in the order of the names")
	}
	if strings.Contains(text, `org?<script>"`) || strings.Count(text, "<script>") != 1 {
		t.Error("the name of the cache is not escaped")
	}

	// Another key joins the first, and what was read stays.
	p.Keys = []string{otherKey}
	if err := Write(t.Context(), s, p); err != nil {
		t.Fatal(err)
	}
	if got := s.Objects()[KeysName]; got != key+"\n"+otherKey+"\n" {
		t.Errorf("keys: %q", got)
	}
	p.Keys = nil
	s = cachetest.NewMemory(overlay(t, base("2", "b")))
	if err := Write(t.Context(), s, p); err != nil || !strings.Contains(s.Objects()[PageName], "Nothing here is signed") {
		t.Errorf("without a key: %v\n%s", err, s.Objects()[PageName])
	}
	if _, ok := s.Objects()[KeysName]; ok {
		t.Error("a file without keys")
	}
}

// interrupted runs a function before the first Put of the page.
type interrupted struct {
	binarycache.Store
	before func()
}

func (s *interrupted) Put(ctx context.Context, o binarycache.Object, body io.ReadSeeker, c binarycache.Condition) (binarycache.Version, error) {
	if f := s.before; f != nil && o.Name == PageName {
		s.before = nil
		f()
	}
	return s.Store.Put(ctx, o, body, c)
}

// Another run that publishes meanwhile is not forgotten, whoever writes the page last.
func TestWriteAtOnce(t *testing.T) {
	objects := overlay(t, base("2", "b"), base("3", "c"))
	first := maps.Clone(objects)
	delete(first, strings.Repeat("3", 32)+".narinfo")
	for _, exists := range []bool{false, true} {
		s := cachetest.NewMemory(first)
		p := &Page{Input: "x", Keys: []string{key}, Now: time.Now()}
		if exists {
			if err := Write(t.Context(), s, p); err != nil {
				t.Fatal(err)
			}
		}
		name := strings.Repeat("3", 32) + ".narinfo"
		late := &interrupted{Store: s, before: func() {
			o := binarycache.Object{Name: name, Size: int64(len(objects[name]))}
			if _, err := s.Put(t.Context(), o, strings.NewReader(objects[name]), binarycache.Condition{New: true}); err != nil {
				t.Error(err)
			}
			if err := Write(t.Context(), s, p); err != nil {
				t.Error(err)
			}
		}}
		if err := Write(t.Context(), late, p); err != nil {
			t.Fatal(err)
		}
		if got := s.Objects()[PageName]; !strings.Contains(got, "with 2 store paths") {
			t.Errorf("page exists %v: the page has forgotten a path", exists)
		}
	}
}

func TestErrors(t *testing.T) {
	objects := overlay(t)
	objects["nix-cache-info"] = strings.Repeat("x", maxKeys+1)
	if err := Write(t.Context(), cachetest.NewMemory(objects), &Page{}); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a long nix-cache-info: %v", err)
	}
	broken := errors.New("broken")
	if err := Write(t.Context(), &failing{cachetest.NewMemory(overlay(t)), broken}, &Page{Keys: []string{key}}); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
}

type failing struct {
	binarycache.Store
	err error
}

func (f *failing) Put(context.Context, binarycache.Object, io.ReadSeeker, binarycache.Condition) (binarycache.Version, error) {
	return "", f.err
}

// A page of a large overlay is bounded.
// Narinfos may be compressed. One that is damaged is left out, with a warning.
func TestCompressedNarinfo(t *testing.T) {
	objects := overlay(t, base("2", "b"), base("3", "c"))
	name := strings.Repeat("2", 32) + ".narinfo"
	packed, err := cachetest.Compress([]byte(objects[name]), compression.Zstd)
	if err != nil {
		t.Fatal(err)
	}
	objects[name] = string(packed)
	bad := strings.Repeat("4", 32) + ".narinfo"
	objects[bad] = "nonsense\n"
	var warned []string
	s := cachetest.NewMemory(objects)
	if err := Write(t.Context(), s, &Page{Warn: func(text string) { warned = append(warned, text) }}); err != nil {
		t.Fatal(err)
	}
	text := s.Objects()[PageName]
	if strings.Count(text, "<tr><td>") != 2 || !strings.Contains(text, "with 2 store paths") {
		t.Errorf("the page is\n%s", text)
	}
	if len(warned) != 1 || !strings.Contains(warned[0], bad) {
		t.Errorf("warnings: %q", warned)
	}
}

// A file with anything but keys is kept, and what is missing in it is said. The page shows the keys of the run.
func TestForeignKeys(t *testing.T) {
	for text, c := range map[string]struct {
		own  bool // Write might have written it
		warn string
	}{
		"":                                   {true, ""},
		otherKey + "\n":                      {true, ""},
		otherKey:                             {true, ""},
		"# our keys\n" + otherKey + "\n":     {false, "add " + key},
		otherKey + " # main\n":               {false, "add " + key},
		"cache 1:" + otherKey[8:] + "\n":     {false, "add " + key},
		"<a:b>\n":                            {false, "add " + key},
		otherKey[:len(otherKey)-8] + "\n":    {false, "add " + key},
		"# our keys\n" + key + "   # main\n": {false, ""},
	} {
		objects := overlay(t, base("2", "b"))
		objects[KeysName] = text
		s := cachetest.NewMemory(objects)
		var warned []string
		if err := Write(t.Context(), s, &Page{Keys: []string{key}, Warn: func(text string) { warned = append(warned, text) }}); err != nil {
			t.Fatal(err)
		}
		want := text
		if c.own {
			want = strings.TrimSuffix(text, "\n")
			if want != "" {
				want += "\n"
			}
			want += key + "\n"
		}
		got := s.Objects()
		if got[KeysName] != want || !strings.Contains(got[PageName], "fix-1:") || !c.own && strings.Contains(got[PageName], "# ") {
			t.Errorf("%q: got %q, want %q, and the page\n%s", text, got[KeysName], want, got[PageName])
		}
		if (len(warned) > 0) != (c.warn != "") || !strings.Contains(strings.Join(warned, ""), c.warn) {
			t.Errorf("%q: warnings %q, want %q", text, warned, c.warn)
		}
	}
}

// A page that somebody else has put there is kept.
func TestForeignPage(t *testing.T) {
	objects := overlay(t, base("2", "b"))
	objects[PageName] = "<h1>My site</h1>"
	s := cachetest.NewMemory(objects)
	if err := Write(t.Context(), s, &Page{}); !errors.Is(err, ErrForeign) || s.Objects()[PageName] != objects[PageName] {
		t.Errorf("got %v, and the page %s", err, s.Objects()[PageName])
	}
}

func TestManyPaths(t *testing.T) {
	var bases []string
	for i := range maxRows + 7 {
		bases = append(bases, fmt.Sprintf("%032d-x", i))
	}
	s := cachetest.NewMemory(overlay(t, bases...))
	if err := Write(t.Context(), s, &Page{Input: "x"}); err != nil {
		t.Fatal(err)
	}
	text := s.Objects()[PageName]
	if got := strings.Count(text, "<tr><td>"); got != maxRows || !strings.Contains(text, "and 7 more") {
		t.Errorf("%d rows", got)
	}
	if names := slices.Sorted(maps.Keys(s.Objects())); slices.Contains(names, KeysName) {
		t.Error("a file without keys")
	}
}
