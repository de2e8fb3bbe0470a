package binarycache_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/cachetest"
	"narseal/nar/binarycache/folder"
	"narseal/nar/binarycache/narinfo"
	"narseal/nar/compression"
	"narseal/nar/nartest"
)

// closure is an application that refers to itself and a library.
func closure() []member {
	app, lib := hash("a")+"-app", hash("l")+"-lib"
	return []member{
		{base: app, nar: nar("I am /nix/store/" + app + " and use /nix/store/" + lib), refs: []string{app, lib},
			extra:   "Deriver: " + hash("d") + "-app.drv\n",
			listing: `{"version":1,"root":{"type":"directory","entries":{"` + lib + `":{"type":"symlink","target":"/nix/store/` + lib + `"},"x":{"type":"regular","size":3,"narOffset":400}}}}`},
		{base: lib, nar: nar("I am /nix/store/" + lib), refs: []string{lib}},
		{base: hash("q") + "-other", nar: nar("no references")},
	}
}

func TestRewriteInPlace(t *testing.T) {
	for _, prune := range []bool{false, true} {
		dir := newCache(t, closure()...)
		before := read(t, dir)
		o := binarycache.RewriteOptions{Prune: prune}
		replacing(&o, hash("l"), hash("0"), hash("d"), hash("1"))
		sum, results := rewrite(t, dir, o)
		if got := statuses(sum); got != "changed=2 unchanged=1" {
			t.Fatalf("prune %v: %s: %v", prune, got, results)
		}
		nars := valid(t, dir)
		app := "/nix/store/" + hash("a") + "-app"
		lib := "/nix/store/" + hash("0") + "-lib"
		if want := string(nar("I am " + app + " and use " + lib)); nars[app] != want {
			t.Errorf("app: got %q", nars[app])
		}
		if nars[lib] != string(nar("I am "+lib)) {
			t.Errorf("lib: got %q", nars[lib])
		}
		after := read(t, dir)
		info := after[hash("a")+".narinfo"]
		// Sorted again: 000… stands before aaa….
		if want := hash("0") + "-lib " + hash("a") + "-app"; line(info, "References") != want {
			t.Errorf("references: got %q, want %q", line(info, "References"), want)
		}
		if want := hash("1") + "-app.drv"; line(info, "Deriver") != want {
			t.Errorf("deriver: got %q", line(info, "Deriver"))
		}
		if got, want := after[hash("a")+".ls"], strings.ReplaceAll(before[hash("a")+".ls"], hash("l"), hash("0")); got != want {
			t.Errorf("listing:\ngot  %s\nwant %s", got, want)
		}
		_, oldLib := after[hash("l")+".narinfo"]
		if oldLib == prune {
			t.Errorf("prune %v: the old path is there: %v", prune, oldLib)
		}
		oldURL := line(before[hash("a")+".narinfo"], "URL")
		if _, there := after[oldURL]; there == prune {
			t.Errorf("prune %v: the old NAR is there: %v", prune, there)
		}
		if want := map[bool]int{false: 0, true: 3}[prune]; sum.Pruned != want {
			t.Errorf("prune %v: %d objects deleted, want %d", prune, sum.Pruned, want)
		}
		for name := range after {
			if strings.HasPrefix(name, ".") {
				t.Errorf("%s stays behind", name)
			}
		}

		// Again: there is nothing left to do.
		sum, _ = rewrite(t, dir, o)
		if sum.Paths[binarycache.Changed] > 0 || sum.Paths[binarycache.Failed] > 0 || !maps.Equal(read(t, dir), after) {
			t.Errorf("prune %v: the second run: %s", prune, statuses(sum))
		}
	}
}

func TestRewriteToOutput(t *testing.T) {
	dir := newCache(t, closure()...)
	before := read(t, dir)
	out := filepath.Join(t.TempDir(), "new", "cache")
	o := binarycache.RewriteOptions{Output: folder.New(out)}
	replacing(&o, hash("l"), hash("0"))
	o.DryRun = true
	sum, _ := rewrite(t, dir, o)
	if got := statuses(sum); got != "changed=2 unchanged=1" {
		t.Errorf("dry run: %s", got)
	}
	if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("dry run: %v", err)
	}
	o.DryRun = false
	sum, _ = rewrite(t, dir, o)
	if got := statuses(sum); got != "changed=2 unchanged=1" {
		t.Fatal(got)
	}
	if !maps.Equal(read(t, dir), before) {
		t.Error("the old cache has changed")
	}
	got := slices.Sorted(maps.Keys(valid(t, out)))
	want := []string{"/nix/store/" + hash("0") + "-lib", "/nix/store/" + hash("a") + "-app", "/nix/store/" + hash("q") + "-other"}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	after := read(t, out)
	if after["nix-cache-info"] != before["nix-cache-info"] || after[hash("q")+".narinfo"] != before[hash("q")+".narinfo"] || after[hash("a")+".ls"] == "" {
		t.Errorf("not copied: %q", slices.Sorted(maps.Keys(after)))
	}
	if n := len(after); n != 1+3+3+1 {
		t.Errorf("%d files: %q", n, slices.Sorted(maps.Keys(after)))
	}

	// A cache of another store is no place for it.
	o.Output = folder.New(newCache(t, member{base: hash("a") + "-a", nar: nar(""), storeDir: "/gnu/store"}))
	if _, err := binarycache.Rewrite(t.Context(), folder.New(dir), o); err == nil || !strings.Contains(err.Error(), "a cache of /gnu/store") {
		t.Errorf("other store: %v", err)
	}
}

// What an earlier run wrote without the key, or somebody has signed with another one, is signed by a run with the key.
func TestRewriteSignsWhatIsThere(t *testing.T) {
	secret, public := keyPair(t, "late-1")
	dir := newCache(t, closure()...)
	out := filepath.Join(t.TempDir(), "out")
	o := binarycache.RewriteOptions{Output: folder.New(out)}
	replacing(&o, hash("l"), hash("0"))
	rewrite(t, dir, o)
	name := filepath.Join(out, hash("0")+".narinfo")
	foreign := "Sig: other:" + strings.Repeat("A", 86) + "==\n"
	if err := os.WriteFile(name, []byte(read(t, out)[hash("0")+".narinfo"]+foreign), 0o666); err != nil {
		t.Fatal(err)
	}
	before := read(t, out)

	o.SecretKeys = []signature.SecretKey{secret}
	if sum, _ := rewrite(t, dir, o); statuses(sum) != "changed=2 finished=1" {
		t.Errorf("with the key: %s", statuses(sum))
	}
	after := read(t, out)
	for base, want := range map[string]bool{hash("0") + "-lib": true, hash("a") + "-app": true, hash("q") + "-other": false} {
		info := base[:32] + ".narinfo"
		n, err := narinfo.ParseNamed(info, []byte(after[info]), "/nix/store")
		if err != nil {
			t.Fatal(err)
		}
		if n.SignedBy([]signature.PublicKey{public}) != want {
			t.Errorf("%s: signed: %v, want %v", base, !want, want)
		}
		if !strings.HasPrefix(after[info], before[info]) {
			t.Errorf("%s: got\n%swant more than\n%s", base, after[info], before[info])
		}
	}
	if sum, _ := rewrite(t, dir, o); statuses(sum) != "finished=3" || !maps.Equal(read(t, out), after) {
		t.Errorf("again: %s", statuses(sum))
	}
}

// Only the deriver changes: the NAR stays, and so do signatures, which do not cover it.
func TestRewriteOfTheNarinfoOnly(t *testing.T) {
	m := member{base: hash("a") + "-a", nar: nar("x"), extra: "Deriver: " + hash("d") + "-a.drv\nSig: k:" + strings.Repeat("A", 86) + "==\nCA: x\n"}
	for _, output := range []bool{false, true} {
		dir := newCache(t, m)
		before := read(t, dir)
		o := binarycache.RewriteOptions{}
		replacing(&o, hash("d"), hash("1"))
		at := dir
		if output {
			at = t.TempDir()
			o.Output = folder.New(at)
		}
		rewrite(t, dir, o)
		info := hash("a") + ".narinfo"
		before[info] = strings.ReplaceAll(before[info], hash("d"), hash("1"))
		if after := read(t, at); !maps.Equal(after, before) {
			t.Errorf("got  %q\nwant %q", after, before)
		}
	}
}

func TestConflicts(t *testing.T) {
	a, b := member{base: hash("a") + "-x", nar: nar("broken")}, member{base: hash("b") + "-x", nar: nar("other")}
	for name, c := range map[string]struct {
		rules  []string
		output bool
		want   string
	}{
		"swap in place":               {[]string{hash("a"), hash("b"), hash("b"), hash("a")}, false, "failed=2"},
		"swap into an output":         {[]string{hash("a"), hash("b"), hash("b"), hash("a")}, true, "changed=2"},
		"onto another in place":       {[]string{hash("a"), hash("b")}, false, "failed=1 unchanged=1"},
		"onto another, to an output":  {[]string{hash("a"), hash("b")}, true, "failed=1 unchanged=1"},
		"two become one":              {[]string{hash("a"), hash("c"), hash("b"), hash("c")}, false, "failed=2"},
		"two become one in an output": {[]string{hash("a"), hash("c"), hash("b"), hash("c")}, true, "failed=2"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := newCache(t, a, b)
			before := read(t, dir)
			o := binarycache.RewriteOptions{}
			replacing(&o, c.rules...)
			at := dir
			if c.output {
				at = t.TempDir()
				o.Output = folder.New(at)
			}
			sum, results := rewrite(t, dir, o)
			if got := statuses(sum); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			for _, r := range results {
				if r.Err != nil && !errors.Is(r.Err, binarycache.ErrConflict) {
					t.Error(r.Err)
				}
			}
			after := read(t, dir)
			for f := range before {
				if after[f] != before[f] {
					t.Errorf("%s has changed", f)
				}
			}
			valid(t, at)
		})
	}
}

func TestTrustedKeys(t *testing.T) {
	secret, public := keyPair(t, "up-1")
	_, other := keyPair(t, "other-1")
	dir := newCache(t, member{base: hash("a") + "-a", nar: nar("broken")})
	o := binarycache.RewriteOptions{SecretKeys: []signature.SecretKey{secret}}
	repairing(&o)
	rewrite(t, dir, o) // which signs
	for name, c := range map[string]struct {
		keys []signature.PublicKey
		want string
	}{
		"signed":         {[]signature.PublicKey{other, public}, "verified=1"},
		"signed by none": {[]signature.PublicKey{other}, "failed=1"},
		"not asked":      {nil, "verified=1"},
	} {
		sum, err := binarycache.Verify(t.Context(), folder.New(dir), binarycache.VerifyOptions{Options: binarycache.Options{TrustedKeys: c.keys, Done: func(r binarycache.Result) {
			if r.Err != nil && !errors.Is(r.Err, binarycache.ErrUntrusted) {
				t.Error(r.Err)
			}
		}}})
		if got := statuses(sum); err != nil || got != c.want {
			t.Errorf("%s: %s, %v, want %s", name, got, err, c.want)
		}
	}
}

func TestSelection(t *testing.T) {
	dir := newCache(t, closure()...)
	old := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	if err := os.Chtimes(filepath.Join(dir, hash("q")+".narinfo"), old, old); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		o    binarycache.Options
		want string
	}{
		"all":           {binarycache.Options{}, "verified=3"},
		"one":           {binarycache.Options{Hashes: hashes(hash("q"))}, "verified=1"},
		"none":          {binarycache.Options{Hashes: hashes()}, ""},
		"missing":       {binarycache.Options{Hashes: hashes(hash("z"))}, "missing=1"},
		"selected":      {binarycache.Options{Select: func(h string) bool { return h < hash("q") }}, "verified=2"},
		"since":         {binarycache.Options{Since: old}, "verified=2"},
		"since earlier": {binarycache.Options{Since: old.Add(-1)}, "verified=3"},
	} {
		var paths, done int
		var bytes int64
		var read atomic.Int64
		c.o.Planned = func(n int, b int64) { paths, bytes = n, b }
		c.o.Read = func(n int) { read.Add(int64(n)) }
		c.o.Done = func(binarycache.Result) { done++ }
		c.o.Jobs = 2
		sum, err := binarycache.Verify(t.Context(), folder.New(dir), binarycache.VerifyOptions{Options: c.o})
		if got := statuses(sum); err != nil || got != c.want {
			t.Errorf("%s: %s, %v, want %s", name, got, err, c.want)
		}
		if done != paths || read.Load() != bytes {
			t.Errorf("%s: progress ends at %d of %d paths, %d of %d bytes", name, done, paths, read.Load(), bytes)
		}
	}
}

// hashes goes through hash parts.
func hashes(list ...string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, h := range list {
			if !yield(h, nil) {
				return
			}
		}
	}
}

func TestListings(t *testing.T) {
	lib := hash("l") + "-lib"
	tree := func(lib string) []byte {
		return nartest.Tree(nartest.Dir{lib: nartest.File("one"), "m": nartest.Exec("two!")})
	}
	// list is the listing, by the places where the contents are found.
	list := func(lib string) string {
		nar := tree(lib)
		entries := []string{fmt.Sprintf(`"%s":{"type":"regular","size":3,"narOffset":%d}`, lib, bytes.Index(nar, []byte("one"))),
			fmt.Sprintf(`"m":{"type":"regular","size":4,"executable":true,"narOffset":%d}`, bytes.Index(nar, []byte("two!")))}
		slices.Sort(entries)
		return `{"version":1,"root":{"type":"directory","entries":{` + strings.Join(entries, ",") + `}}}`
	}
	extra := func(s string) string { return strings.Replace(s, `"size":3`, `"size":3,"more":[1]`, 1) }
	sorted := func(lib string) string {
		var v any
		if err := json.Unmarshal([]byte(list(lib)), &v); err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for name, c := range map[string]struct {
		listing, to string
		want        string
	}{
		"stays in place":      {extra(list(lib)), hash("k"), extra(list(hash("k") + "-lib"))},
		"compressed":          {string(packed(t, []byte(list(lib)), compression.Gzip)), hash("k"), list(hash("k") + "-lib")},
		"moves":               {list(lib), hash("n"), list(hash("n") + "-lib")},
		"moves, sorted keys":  {sorted(lib), hash("n"), sorted(hash("n") + "-lib")},
		"moves, compressed":   {string(packed(t, []byte(list(lib)), compression.Gzip)), hash("n"), list(hash("n") + "-lib")},
		"moves, more members": {extra(list(lib)), hash("n"), list(hash("n") + "-lib")},
		"cannot be read":      {"\x8b\x02\x80brotli\x03", hash("k"), sorted(hash("k") + "-lib")},
		"without any names":   {`{"version":1}`, hash("k"), `{"version":1}`},
	} {
		t.Run(name, func(t *testing.T) {
			everyStore(t, []member{{base: hash("a") + "-a", nar: tree(lib), listing: c.listing}}, func(t *testing.T, s binarycache.Store) {
				for _, output := range []bool{true, false} {
					o := binarycache.RewriteOptions{}
					replacing(&o, hash("l"), c.to)
					o.Filter = func(_ context.Context, _ *binarycache.Path, dst io.Writer, src io.Reader) error {
						_, err := io.Copy(io.Discard, src)
						if err == nil {
							_, err = dst.Write(tree(c.to + "-lib"))
						}
						return err
					}
					at := s
					if output {
						at = cachetest.NewMemory(nil)
						o.Output = at
					}
					o.Done = func(r binarycache.Result) {
						if r.Err != nil || len(r.Warnings) > 0 {
							t.Errorf("%+v", r)
						}
					}
					if _, err := binarycache.Rewrite(t.Context(), s, o); err != nil {
						t.Fatal(err)
					}
					f, _, err := at.Open(t.Context(), hash("a")+".ls")
					if err != nil {
						t.Fatal(err)
					}
					defer f.Close()
					rc, format, err := compression.Decompress(f)
					if err != nil {
						t.Fatal(err)
					}
					if got, err := io.ReadAll(rc); string(got) != c.want || err != nil || (format == compression.Gzip) != strings.Contains(name, "compressed") {
						t.Errorf("output %v: got  %q in %s, %v\nwant %q", output, got, format, err, c.want)
					}
				}
			})
		})
	}
}

// Nothing is deleted that an unreadable narinfo might name.
func TestPruneFailsClosed(t *testing.T) {
	dir := newCache(t, member{base: hash("a") + "-a", nar: nar("broken")})
	write(t, dir, map[string]string{hash("b") + ".narinfo": "garbage"})
	before := read(t, dir)
	o := binarycache.RewriteOptions{Prune: true}
	repairing(&o)
	sum, err := binarycache.Rewrite(t.Context(), folder.New(dir), o)
	if err == nil || !strings.Contains(err.Error(), "no NAR is deleted") || sum.Pruned != 0 {
		t.Errorf("got %+v, %v", sum, err)
	}
	after := read(t, dir)
	for f := range before {
		if _, ok := after[f]; !ok {
			t.Errorf("%s is deleted", f)
		}
	}

	// Two paths share a NAR, and only one is repaired.
	dir = newCache(t, member{base: hash("a") + "-a", nar: nar("broken")}, member{base: hash("b") + "-b", nar: nar("broken")})
	o.Hashes = hashes(hash("a"))
	if sum, _ := rewrite(t, dir, o); sum.Pruned != 0 {
		t.Errorf("a NAR that is still named: %d objects deleted", sum.Pruned)
	}
	valid(t, dir)
	o.Hashes = nil
	if sum, _ := rewrite(t, dir, o); sum.Pruned != 1 {
		t.Errorf("a NAR that is no longer named: %d objects deleted", sum.Pruned)
	}
	valid(t, dir)
}

func TestNoCache(t *testing.T) {
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "missing")} {
		if _, err := binarycache.Verify(t.Context(), folder.New(dir), binarycache.VerifyOptions{}); err == nil || !strings.Contains(err.Error(), "not a binary cache") {
			t.Errorf("verify: %v", err)
		}
	}
}

// A filter that fails, or that does something else the second time, leaves nothing.
func TestBadFilters(t *testing.T) {
	failed := errors.New("cannot be sealed")
	for name, filter := range map[string]func(p *binarycache.Path, dst io.Writer, src io.Reader) error{
		"fails at once": func(*binarycache.Path, io.Writer, io.Reader) error { return failed },
		"fails in the second pass": func(p *binarycache.Path, dst io.Writer, src io.Reader) error {
			if p.Again {
				return failed
			}
			_, err := io.WriteString(dst, "x")
			return err
		},
	} {
		dir := newCache(t, closure()...)
		before := read(t, dir)
		sum, results := rewrite(t, dir, binarycache.RewriteOptions{Filter: func(_ context.Context, p *binarycache.Path, dst io.Writer, src io.Reader) error {
			return filter(p, dst, src)
		}})
		if sum.Paths[binarycache.Failed] != 3 || !errors.Is(results[hash("a")+".narinfo"].Err, failed) {
			t.Errorf("%s: %s", name, statuses(sum))
		}
		if !maps.Equal(read(t, dir), before) {
			t.Errorf("%s: files have changed", name)
		}
	}
	dir := newCache(t, closure()...)
	before := read(t, dir)
	sum, results := rewrite(t, dir, binarycache.RewriteOptions{Filter: func(_ context.Context, p *binarycache.Path, dst io.Writer, src io.Reader) error {
		text := "first"
		if p.Again {
			text = "second"
		}
		_, err := io.WriteString(dst, text)
		return err
	}})
	if sum.Paths[binarycache.Failed] != 3 || !strings.Contains(results[hash("a")+".narinfo"].Err.Error(), "filtering the NAR again") || !maps.Equal(read(t, dir), before) {
		t.Errorf("unsteady filter: %s, %v", statuses(sum), results)
	}
}

// A filter may ask for a second start, with whatever it has written forgotten.
func TestRetry(t *testing.T) {
	for _, output := range []bool{false, true} {
		dir := newCache(t, closure()...)
		o := binarycache.RewriteOptions{}
		repairing(&o)
		at := dir
		if output {
			at = t.TempDir()
			o.Output = folder.New(at)
		}
		var calls []string
		o.Filter = func(_ context.Context, p *binarycache.Path, dst io.Writer, src io.Reader) error {
			calls = append(calls, fmt.Sprint(p.Retry, p.Again))
			if !p.Retry {
				if _, err := io.WriteString(dst, "lost"); err != nil {
					return err
				}
				return fmt.Errorf("out of order: %w", binarycache.ErrRetry)
			}
			_, err := io.WriteString(dst, "new")
			return err
		}
		o.Hashes = hashes(hash("q"))
		rewrite(t, dir, o)
		if got := fmt.Sprint(calls); got != "[false false true false true true]" {
			t.Errorf("output %v: calls with (retry, again): %s", output, got)
		}
		if got := valid(t, at)["/nix/store/"+hash("q")+"-other"]; got != "new" {
			t.Errorf("output %v: got %q", output, got)
		}

		// But not for ever.
		o.Filter = func(context.Context, *binarycache.Path, io.Writer, io.Reader) error { return binarycache.ErrRetry }
		if sum, _ := rewrite(t, dir, o); statuses(sum) != "failed=1" {
			t.Errorf("output %v: %s", output, statuses(sum))
		}
	}
}
