package httpstore_test

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/cachetest"
	"narseal/nar/binarycache/httpstore"
)

func open(t *testing.T, url string) *httpstore.Store {
	t.Helper()
	s, err := httpstore.New(url, httpstore.Options{Netrc: os.DevNull, UserAgent: "narseal/test"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	server := httptest.NewServer(&cachetest.WebStore{})
	defer server.Close()
	for _, path := range []string{"", "/a/b/"} {
		s := open(t, server.URL+path)
		cachetest.TestStoreThatLacks(t, s, cachetest.Lacks{Listing: true})
		for _, w := range s.Warnings() {
			t.Errorf("warning: %s", w)
		}
	}
}

// nginx knows no conditions: they are checked right before, and that is said once.
func TestNginx(t *testing.T) {
	url, dir := cachetest.NewNginx(t)
	s := open(t, url)
	cachetest.TestStoreThatLacks(t, s, cachetest.Lacks{Listing: true, Versions: true})
	if w := s.Warnings(); len(w) != 1 || !strings.Contains(w[0], "ignores If-None-Match and If-Match") {
		t.Errorf("warnings: %q", w)
	}
	if w := s.Warnings(); len(w) != 0 {
		t.Errorf("warnings again: %q", w)
	}
	// What it would keep without Content-Encoding is not written.
	o := binarycache.Object{Name: "x.ls", Size: 1, Attributes: map[string]string{"Content-Encoding": "br"}}
	if _, err := s.Put(t.Context(), o, strings.NewReader("x"), binarycache.Condition{}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Content-Encoding: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*probe*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

// A server of files is read, and not written.
func TestStatic(t *testing.T) {
	dir := t.TempDir()
	large := strings.Repeat("0123456789abcdef", 100_000)
	for name, content := range map[string]string{"nix-cache-info": "StoreDir: /nix/store\n", "x.nar": large} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer server.Close()
	s := open(t, server.URL)
	r, o, err := s.Open(t.Context(), "x.nar")
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err != nil || string(got) != large || o.Size != int64(len(large)) || r.Close() != nil {
		t.Errorf("got %d bytes, %+v, %v", len(got), o, err)
	}
	if _, err := s.Stat(t.Context(), "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	_, err = s.Put(t.Context(), binarycache.Object{Name: "new", Size: 1}, strings.NewReader("x"), binarycache.Condition{New: true})
	if err == nil {
		t.Error("a server of files was written")
	}
}
