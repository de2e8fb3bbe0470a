package cachestore

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"narseal/cmd/narseal/internal/sandbox"
)

func open(t *testing.T, name string) *Cache {
	t.Helper()
	c, err := Open(t.Context(), name, Options{Netrc: os.DevNull, Version: "test"})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return c
}

// The state of a run is found again however the cache is written, and never under a name with a password in it.
func TestID(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "a")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "b")
	dir := t.TempDir()
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		dir + "/x": real + "/x", link + "/x": real + "/x", "file://" + dir + "/x?compression=xz": real + "/x",
		"https://user:hunter2@EXAMPLE.org/a/?priority=30": "https://example.org/a", "https://example.org/a": "https://example.org/a",
		"s3://b/p/?region=eu-west-1&compression=zstd": "s3://b/p",
	} {
		c := open(t, name)
		got, err := c.ID()
		if err != nil || got != want || strings.Contains(c.Name, "hunter2") {
			t.Errorf("%s: got %s, %v, called %s, want %s", name, got, err, c.Name, want)
		}
	}
	for _, same := range [][2]string{{dir, link}, {"https://a.org/", "https://u:p@A.org"}, {"s3://b?region=x", "s3://b/"}} {
		if a, b := open(t, same[0]), open(t, same[1]); !a.Same(b) {
			t.Errorf("%s and %s are the same", same[0], same[1])
		}
	}
	for _, other := range [][2]string{{dir, dir + "/x"}, {dir, "https://a.org"}, {"s3://b", "s3://b/p"}, {"s3://b", "s3://b?endpoint=other.org"}} {
		if a, b := open(t, other[0]), open(t, other[1]); a.Same(b) {
			t.Errorf("%s and %s are not the same", other[0], other[1])
		}
	}
}

// Only a cache behind a network gets the network.
func TestGrant(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "a")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "b")
	dir := t.TempDir()
	for name, want := range map[string]bool{dir: false, "file://" + dir: false, "http://example.org": true, "s3://b": true} {
		for _, write := range []bool{false, true} {
			var p sandbox.Policy
			open(t, name).Grant(&p, write)
			if p.Network != want || !want && len(p.Own)+len(p.Read) != 1 || want && len(p.Own) > 0 {
				t.Errorf("%s: %+v", name, p)
			}
		}
	}
}

func TestRedact(t *testing.T) {
	for name, want := range map[string]string{
		"https://u:p@host/path?sig=x": "https://host/path", "s3://k@b": "s3://b", "x://a@b@c/d": "x://c/d", "x://": "x://",
		"http://u:p@h:80/a@b?c#d": "http://b", "http://u:p/q@h/x": "http://h/x", "http://u:1/q@h/x": "http://h/x", "https://h/a@b": "https://h/a@b",
		"http://u:p?q@h/x": "http://…", "http://u:p#q@h/x": "http://…", "http://u:p/x?q@h": "http://…", "a/b@c?d": "a/b@c?d",
		"http://u:%zz@h/x": "http://h/x", "s3://u:p@b?endpoint=http://u:p@h": "s3://…",
	} {
		if got := Redact(name); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}
