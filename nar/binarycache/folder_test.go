package binarycache_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"narseal/nar/binarycache"
)

func TestFolder(t *testing.T) {
	dir := t.TempDir()
	s := binarycache.NewFolder(dir)
	ctx := t.Context()

	p, err := s.Create(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(p, "contents"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Stat(ctx, "nar/x.nar"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before commit: %v", err)
	}
	if err := p.Commit("nar/x.nar"); err != nil {
		t.Fatal(err)
	}
	p.Abort()
	if o, err := s.Stat(ctx, "nar/x.nar"); err != nil || o.Size != 8 || o.Name != "nar/x.nar" || o.ModTime.IsZero() {
		t.Errorf("stat: %+v, %v", o, err)
	}
	info, err := os.Stat(filepath.Join(dir, "nar/x.nar"))
	if err != nil || info.Mode().Perm()&0o444 == 0 || info.Mode().Perm()&0o111 != 0 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}

	p, err = s.Create(ctx)
	if err != nil {
		t.Fatal(err)
	}
	p.Abort()
	p.Abort()
	if left, err := os.ReadDir(filepath.Join(dir, ".narseal")); err != nil || len(left) > 0 {
		t.Errorf("after abort: %v, %v", left, err)
	}

	write(t, dir, map[string]string{"top": "1", ".hidden": "", "nar/y.nar": "22"})
	for folder, want := range map[string]string{"": "top", "nar": "nar/x.nar nar/y.nar"} {
		var names []string
		for o, err := range s.List(ctx, folder) {
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, o.Name)
		}
		slices.Sort(names)
		if got := strings.Join(names, " "); got != want {
			t.Errorf("list %q: got %q, want %q", folder, got, want)
		}
	}
	for range 2 {
		if err := s.Delete(ctx, "nar/x.nar"); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Open(ctx, "nar/x.nar"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open: %v", err)
	}
	if _, err := s.Stat(ctx, "nar"); err == nil {
		t.Error("stat of a folder: no error")
	}
}

func TestFolderNames(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"secret": "x", "cache/nar/x": "y"})
	s := binarycache.NewFolder(filepath.Join(dir, "cache"))
	ctx := t.Context()
	for _, name := range []string{"", "/etc/passwd", "../secret", "nar/../../secret", "nar//x", "./nar/x", "nar/x/"} {
		p, err := s.Create(ctx)
		if err != nil {
			t.Fatal(err)
		}
		_, err1 := s.Open(ctx, name)
		_, err2 := s.Stat(ctx, name)
		err3 := s.Delete(ctx, name)
		err4 := p.Commit(name)
		for _, err := range []error{err1, err2, err3, err4} {
			if !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%q: %v", name, err)
			}
		}
		p.Abort()
	}
	if _, err := os.Stat(filepath.Join(dir, "secret")); err != nil {
		t.Error(err)
	}
}

func TestOneRunAtATime(t *testing.T) {
	dir := newCache(t, member{base: hash("a") + "-a", nar: nar("broken")})
	folder, release, err := binarycache.NewFolder(dir).Exclusive()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := binarycache.NewFolder(dir).Exclusive(); err == nil || !strings.Contains(err.Error(), "another run") {
		t.Errorf("second: %v", err)
	}
	before := read(t, dir)
	o := binarycache.Options{}
	repairing(&o)
	if _, err := binarycache.Rewrite(t.Context(), binarycache.NewFolder(dir), o); err == nil || !strings.Contains(err.Error(), "another run") {
		t.Errorf("rewrite: %v", err)
	}
	if after := read(t, dir); len(after) != len(before) {
		t.Errorf("files: %v", after)
	}
	// Reading goes on.
	if sum, err := binarycache.Verify(t.Context(), binarycache.NewFolder(dir), binarycache.Options{}); err != nil || sum.Paths[binarycache.Verified] != 1 {
		t.Errorf("verify: %+v, %v", sum, err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(folder); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after release: %v", err)
	}
	if _, release, err = binarycache.NewFolder(dir).Exclusive(); err != nil {
		t.Fatal(err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
}
