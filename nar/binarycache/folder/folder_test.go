//go:build linux || darwin

package folder_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/cachetest"
	"narseal/nar/binarycache/folder"
)

func TestStore(t *testing.T) { cachetest.TestStore(t, folder.New(t.TempDir())) }

func TestMemory(t *testing.T) { cachetest.TestStore(t, cachetest.NewMemory(nil)) }

// Nothing in a cache leads outside of it.
func TestSymlinks(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "x.nar"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"nar": outside, "x.nar": filepath.Join(outside, "x.nar")} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	s := folder.New(dir)
	for _, name := range []string{"nar/x.nar", "x.nar"} {
		_, _, err1 := s.Open(t.Context(), name)
		_, err2 := s.Stat(t.Context(), name)
		err3 := s.Delete(t.Context(), name, binarycache.Condition{})
		for i, err := range []error{err1, err2, err3} {
			if err == nil {
				t.Errorf("%s: operation %d follows a symbolic link", name, i)
			}
		}
	}
	if b, err := os.ReadFile(filepath.Join(outside, "x.nar")); string(b) != "secret" {
		t.Errorf("got %q, %v", b, errors.Unwrap(err))
	}
}
