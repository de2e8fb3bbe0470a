package cachetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"narseal/nar/binarycache"
)

// Lacks are what a store does not have.
type Lacks struct {
	Listing  bool // List is not supported
	Versions bool // the version is empty, or conditions are not checked together with the change
}

// TestStore holds a store to what [binarycache.Store] promises. It is given an empty one.
func TestStore(t *testing.T, s binarycache.Store) { TestStoreThatLacks(t, s, Lacks{}) }

// TestStoreThatLacks holds a store to what [binarycache.Store] promises, but for what it does not have.
func TestStoreThatLacks(t *testing.T, s binarycache.Store, lacks Lacks) {
	ctx := t.Context()
	read := func(t *testing.T, name string) (string, binarycache.Object) {
		t.Helper()
		r, o, err := s.Open(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(b), o
	}
	put := func(name, content string, c binarycache.Condition) (binarycache.Version, error) {
		return s.Put(ctx, binarycache.Object{Name: name, Size: int64(len(content))}, strings.NewReader(content), c)
	}
	missing := func(t *testing.T, name string) {
		t.Helper()
		_, _, err1 := s.Open(ctx, name)
		_, err2 := s.Stat(ctx, name)
		err3 := s.Delete(ctx, name, binarycache.Condition{})
		for _, err := range []error{err1, err2, err3} {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: got %v, want that it does not exist", name, err)
			}
		}
	}

	t.Run("empty", func(t *testing.T) {
		missing(t, "nix-cache-info")
		missing(t, "nar/x.nar")
		for o, err := range s.List(ctx, "nar") {
			if err == nil || !errors.Is(err, fs.ErrNotExist) && !(lacks.Listing && errors.Is(err, errors.ErrUnsupported)) {
				t.Errorf("list: %+v, %v", o, err)
			}
		}
	})
	t.Run("put", func(t *testing.T) { testPut(t, s, lacks, put, read) })
	if lacks.Versions {
		testNew(t, s, put)
	} else {
		t.Run("conditions", func(t *testing.T) { testConditions(t, s, put, read) })
	}
	t.Run("failed puts", func(t *testing.T) { testFailedPuts(t, s, missing) })
	if !lacks.Listing {
		t.Run("list", func(t *testing.T) { testList(t, s) })
	}
	t.Run("names", func(t *testing.T) { testNames(t, s, put) })
	t.Run("delete", func(t *testing.T) {
		if err := s.Delete(ctx, "nar/x.nar", binarycache.Condition{}); err != nil {
			t.Error(err)
		}
		missing(t, "nar/x.nar")
	})
	if !lacks.Versions {
		t.Run("races", func(t *testing.T) { testRaces(t, s, put, read) })
	}
}

func testPut(t *testing.T, s binarycache.Store, lacks Lacks, put putFunc, read readFunc) {
	ctx := t.Context()
	v, err := put("nar/x.nar", "contents", binarycache.Condition{New: true})
	if err != nil {
		t.Fatal(err)
	}
	got, o := read(t, "nar/x.nar")
	if got != "contents" || o.Name != "nar/x.nar" || o.Size != 8 && o.Size != -1 || o.Version != v && !lacks.Versions || o.ModTime.IsZero() {
		t.Errorf("got %q, %+v, want version %q", got, o, v)
	}
	o2, err := s.Stat(ctx, "nar/x.nar")
	if err != nil || o2.Size != 8 || o2.Version != v && !lacks.Versions || o2.Name != o.Name || !o2.ModTime.Equal(o.ModTime) {
		t.Errorf("stat: %+v, %v, want %+v", o2, err, o)
	}
	if _, err := put("empty", "", binarycache.Condition{}); err != nil {
		t.Error(err)
	}
	if got, _ := read(t, "empty"); got != "" {
		t.Errorf("got %q", got)
	}
	large := strings.Repeat("0123456789abcdef", 100_000)
	if _, err := put("nar/large.nar", large, binarycache.Condition{New: true}); err != nil {
		t.Error(err)
	}
	if got, _ := read(t, "nar/large.nar"); got != large {
		t.Errorf("got %d bytes", len(got))
	}
}

// testNew checks the one condition that every store can check.
func testNew(t *testing.T, s binarycache.Store, put putFunc) {
	if _, err := put("info", "first", binarycache.Condition{New: true}); err != nil {
		t.Error(err)
	}
	if _, err := put("info", "other", binarycache.Condition{New: true}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("new, and it is there: %v", err)
	}
	if _, err := put("gone", "x", binarycache.Condition{Version: "other"}); !errors.Is(err, binarycache.ErrChanged) {
		t.Errorf("put over what is gone: %v", err)
	}
}

type putFunc func(name, content string, c binarycache.Condition) (binarycache.Version, error)
type readFunc func(t *testing.T, name string) (string, binarycache.Object)

// testList expects the objects that the tests before it have put.
func testList(t *testing.T, s binarycache.Store) {
	ctx := t.Context()
	for dir, want := range map[string]string{"": "empty info", "nar": "nar/large.nar nar/x.nar"} {
		var names []string
		for o, err := range s.List(ctx, dir) {
			if err != nil {
				t.Fatal(err)
			}
			at, err := s.Stat(ctx, o.Name)
			if err != nil || at.Version != o.Version || at.Size != o.Size || !at.ModTime.Equal(o.ModTime) {
				t.Errorf("listed %+v, stat %+v, %v", o, at, err)
			}
			names = append(names, o.Name)
		}
		slices.Sort(names)
		if got := strings.Join(names, " "); got != want {
			t.Errorf("list %q: got %q, want %q", dir, got, want)
		}
	}
	for range s.List(ctx, "nar") {
		break // and no panic
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	for _, err := range s.List(canceled, "nar") {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("canceled: %v", err)
		}
	}
}

func testNames(t *testing.T, s binarycache.Store, put putFunc) {
	ctx := t.Context()
	for _, name := range []string{"", ".", "/etc/passwd", "../x", "nar/../../x", "nar//x", "./nar/x.nar", "nar/x.nar/", ".hidden", "nar/.hidden"} {
		_, _, err1 := s.Open(ctx, name)
		_, err2 := s.Stat(ctx, name)
		err3 := s.Delete(ctx, name, binarycache.Condition{})
		_, err4 := put(name, "x", binarycache.Condition{})
		for i, err := range []error{err1, err2, err3, err4} {
			if !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%q: operation %d: got %v, want that it is invalid", name, i, err)
			}
		}
	}
}

func testConditions(t *testing.T, s binarycache.Store, put putFunc, read readFunc) {
	ctx := t.Context()
	first, err := put("info", "first", binarycache.Condition{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := put("info", "other", binarycache.Condition{New: true}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("new, and it is there: %v", err)
	}
	second, err := put("info", "other", binarycache.Condition{Version: first})
	if err != nil || second == first || second == "" {
		t.Fatalf("version %q after %q, %v", second, first, err)
	}
	if _, err := put("info", "third", binarycache.Condition{Version: first}); !errors.Is(err, binarycache.ErrChanged) {
		t.Errorf("put over another version: %v", err)
	}
	if err := s.Delete(ctx, "info", binarycache.Condition{Version: first}); !errors.Is(err, binarycache.ErrChanged) {
		t.Errorf("delete of another version: %v", err)
	}
	if _, err := put("gone", "x", binarycache.Condition{Version: first}); !errors.Is(err, binarycache.ErrChanged) {
		t.Errorf("put over what is gone: %v", err)
	}
	if got, o := read(t, "info"); got != "other" || o.Version != second {
		t.Errorf("got %q, %q", got, o.Version)
	}
	if err := s.Delete(ctx, "info", binarycache.Condition{Version: second}); err != nil {
		t.Error(err)
	}
	if _, err := put("info", "again", binarycache.Condition{New: true}); err != nil {
		t.Error(err)
	}
}

// testFailedPuts has nothing written where the body is not what it should be, or the run ends.
func testFailedPuts(t *testing.T, s binarycache.Store, missing func(*testing.T, string)) {
	broken := errors.New("broken")
	canceled, cancel := context.WithCancel(t.Context())
	for name, c := range map[string]struct {
		ctx  context.Context
		size int64
		body io.ReadSeeker
		want error
	}{
		"short":    {t.Context(), 5, strings.NewReader("1234"), nil},
		"long":     {t.Context(), 5, strings.NewReader("123456"), nil},
		"fails":    {t.Context(), 5, &failing{strings.NewReader("12345"), broken, nil}, broken},
		"canceled": {canceled, 5, &failing{strings.NewReader("12345"), nil, cancel}, context.Canceled},
	} {
		_, err := s.Put(c.ctx, binarycache.Object{Name: "nar/failed.nar", Size: c.size}, c.body, binarycache.Condition{New: true})
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
		missing(t, "nar/failed.nar")
	}
}

// A failing reader ends in an error, or calls a function at the end.
type failing struct {
	io.ReadSeeker
	err error
	end func()
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.ReadSeeker.Read(p)
	if err == io.EOF {
		if f.err != nil {
			err = f.err
		} else {
			f.end()
		}
	}
	return n, err
}

// testRaces has many writers of one object, of whom one wins at a time, and readers who see whole objects.
func testRaces(t *testing.T, s binarycache.Store, put putFunc, read readFunc) {
	const writers, rounds = 4, 20
	var won atomic.Int64
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			if _, err := put("nar/race.nar", fmt.Sprint(w), binarycache.Condition{New: true}); err == nil {
				won.Add(1)
			} else if !errors.Is(err, fs.ErrExist) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d of %d writers of one new object have won", won.Load(), writers)
	}

	// Each writer adds a letter to what it has read, if that is what is replaced: no letter is lost.
	if _, err := put("count", "", binarycache.Condition{New: true}); err != nil {
		t.Fatal(err)
	}
	for w := range writers {
		wg.Go(func() {
			for n := 0; n < rounds; {
				got, o := read(t, "count")
				_, err := put("count", got+string(rune('a'+w)), binarycache.Condition{Version: o.Version})
				if err == nil {
					n++
				} else if !errors.Is(err, binarycache.ErrChanged) {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	got, _ := read(t, "count")
	for w := range writers {
		if n := bytes.Count([]byte(got), []byte{byte('a' + w)}); n != rounds {
			t.Errorf("writer %d has written %d times, want %d: %q", w, n, rounds, got)
		}
	}
}
