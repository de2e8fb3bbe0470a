package s3store_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/cachetest"
	"narseal/nar/binarycache/s3store"
)

func open(t *testing.T, url string) *s3store.Store {
	t.Helper()
	s, err := s3store.New(url, s3store.Options{Program: "narseal", Release: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	server := cachetest.NewS3(t)
	for _, prefix := range []string{"", "/a/b"} {
		t.Run("prefix "+prefix, func(t *testing.T) {
			s := open(t, server.URL(prefix))
			cachetest.TestStore(t, s)
			for _, w := range s.Warnings() {
				t.Errorf("warning: %s", w)
			}
		})
	}
}

// What a server keeps with an object is kept, by one request or in parts.
func TestAttributes(t *testing.T) {
	s := open(t, cachetest.NewS3(t).URL(""))
	want := map[string]string{"Content-Type": "text/x-nix-narinfo", "Content-Encoding": "br", "Cache-Control": "max-age=7"}
	o := binarycache.Object{Name: "x.narinfo", Size: 1, Attributes: want}
	if _, err := s.Put(t.Context(), o, strings.NewReader("x"), binarycache.Condition{New: true}); err != nil {
		t.Fatal(err)
	}
	o, err := s.Stat(t.Context(), "x.narinfo")
	if err != nil || !contains(o.Attributes, want) {
		t.Errorf("stat: %v, %v", o.Attributes, err)
	}
	r, o, err := s.Open(t.Context(), "x.narinfo")
	if err != nil || !contains(o.Attributes, want) {
		t.Errorf("open: %v, %v", o.Attributes, err)
	}
	r.Close()
}

func contains(m, want map[string]string) bool {
	m = maps.Clone(m)
	maps.DeleteFunc(m, func(k, _ string) bool { _, ok := want[k]; return !ok })
	return maps.Equal(m, want)
}

// A seeker hides that a reader can be read anywhere.
type seeker struct{ io.ReadSeeker }

// A large object is sent in parts, under a condition, from a body that can be read anywhere and from one that cannot.
func TestParts(t *testing.T) {
	s := open(t, cachetest.NewS3(t).URL(""))
	content := make([]byte, 100<<20+12345)
	rand.NewChaCha8([32]byte{}).Read(content)
	attributes := map[string]string{"Content-Type": "application/x-nix-nar", "Cache-Control": "max-age=7"}
	for name, body := range map[string]io.ReadSeeker{"nar/at.nar": bytes.NewReader(content), "nar/seek.nar": seeker{bytes.NewReader(content)}} {
		o := binarycache.Object{Name: name, Size: int64(len(content)), Attributes: attributes}
		v, err := s.Put(t.Context(), o, body, binarycache.Condition{New: true})
		if err != nil {
			t.Fatal(err)
		}
		r, got, err := s.Open(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		h := sha256.New()
		n, err := io.Copy(h, r)
		if err != nil || n != o.Size || [32]byte(h.Sum(nil)) != sha256.Sum256(content) || got.Version != v || !contains(got.Attributes, attributes) {
			t.Errorf("%s: %d bytes, %+v, want version %s, %v", name, n, got, v, err)
		}
		r.Close()
		body.Seek(0, io.SeekStart)
		if _, err := s.Put(t.Context(), o, body, binarycache.Condition{New: true}); !errors.Is(err, fs.ErrExist) {
			t.Errorf("again: %v", err)
		}
		body.Seek(0, io.SeekStart)
		if _, err := s.Put(t.Context(), o, body, binarycache.Condition{Version: "0123"}); !errors.Is(err, binarycache.ErrChanged) {
			t.Errorf("over another version: %v", err)
		}
	}
}
