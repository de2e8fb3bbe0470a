package binarycache_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/cachetest"
	"narseal/nar/binarycache/folder"
	"narseal/nar/compression"
)

func TestMemoryStore(t *testing.T) { cachetest.TestStore(t, cachetest.NewMemory(nil)) }

// memoryCache is a cache in memory.
func memoryCache(t testing.TB, members ...member) *cachetest.Memory {
	t.Helper()
	objects, err := cachetest.Objects(paths(members)...)
	if err != nil {
		t.Fatal(err)
	}
	return cachetest.NewMemory(objects)
}

// A store that reads each object once only gives what a directory gives, in place and into another store of either kind.
func TestStoresAgree(t *testing.T) {
	big := nar("broken " + hash("l") + strings.Repeat("0123456789abcdef", 9<<16)) // more than a spill keeps in memory
	members := append(closure(), member{base: hash("b") + "-big", nar: big, compression: compression.None})
	var o binarycache.RewriteOptions
	replacing(&o, hash("l"), hash("0"), hash("d"), hash("1"), "broken", "sealed")
	o.Jobs = 3
	files := 0
	o.TempFile = func() (binarycache.TempFile, error) {
		files++
		f, err := os.CreateTemp(t.TempDir(), "")
		return f, err
	}
	dir := newCache(t, members...)
	if sum, _ := rewrite(t, dir, o); statuses(sum) != "changed=3 unchanged=1" {
		t.Fatal(statuses(sum))
	}
	want := read(t, dir)
	fresh := t.TempDir()
	if _, err := binarycache.Rewrite(t.Context(), folder.New(newCache(t, members...)), withOutput(o, folder.New(fresh))); err != nil {
		t.Fatal(err)
	}
	wantFresh := read(t, fresh)

	m := memoryCache(t, members...)
	if sum, err := binarycache.Rewrite(t.Context(), m, o); err != nil || statuses(sum) != "changed=3 unchanged=1" {
		t.Fatal(statuses(sum), err)
	}
	if got := m.Objects(); !maps.Equal(got, want) {
		t.Errorf("in place: got %q, want %q", sizes(got), sizes(want))
	}
	out := cachetest.NewMemory(nil)
	if _, err := binarycache.Rewrite(t.Context(), memoryCache(t, members...), withOutput(o, out)); err != nil {
		t.Fatal(err)
	}
	if got := out.Objects(); !maps.Equal(got, wantFresh) {
		t.Errorf("into another: got %q, want %q", sizes(got), sizes(wantFresh))
	}
	at := filepath.Join(t.TempDir(), "out")
	if _, err := binarycache.Rewrite(t.Context(), memoryCache(t, members...), withOutput(o, folder.New(at))); err != nil {
		t.Fatal(err)
	}
	if got := read(t, at); !maps.Equal(got, wantFresh) {
		t.Errorf("into a directory: got %q, want %q", sizes(got), sizes(wantFresh))
	}
	if files == 0 {
		t.Error("no temporary file was needed")
	}
	if sum, err := binarycache.Verify(t.Context(), out, binarycache.VerifyOptions{}); err != nil || statuses(sum) != "verified=4" {
		t.Error(statuses(sum), err)
	}
}

func withOutput(o binarycache.RewriteOptions, out binarycache.Store) binarycache.RewriteOptions {
	o.Output = out
	return o
}

func sizes(objects map[string]string) (list []string) {
	for name, content := range objects {
		list = append(list, fmt.Sprint(name, " ", len(content)))
	}
	return list
}

// Rules that undo themselves need something to remember them by.
func TestOnceNeedsState(t *testing.T) {
	var o binarycache.RewriteOptions
	swap(&o)
	m := memoryCache(t, swapping(1)...)
	before := m.Objects()
	if _, err := binarycache.Rewrite(t.Context(), m, o); err == nil || !strings.Contains(err.Error(), "need a State") || !maps.Equal(m.Objects(), before) {
		t.Errorf("in place: %v", err)
	}
	if _, err := binarycache.Rewrite(t.Context(), m, withOutput(o, cachetest.NewMemory(nil))); err != nil {
		t.Errorf("into another: %v", err)
	}
	failed := errors.New("failed")
	o.Hashes = func(yield func(string, error) bool) { yield("", failed) }
	if _, err := binarycache.Verify(t.Context(), m, binarycache.VerifyOptions{Options: o.Options}); !errors.Is(err, failed) {
		t.Errorf("a list that fails: %v", err)
	}
}
