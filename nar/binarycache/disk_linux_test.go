package binarycache_test

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/folder"
	"narseal/nar/compression"
)

// mount mounts a tmpfs, or skips the test where this is not allowed.
func mount(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		if errors.Is(err, fs.ErrPermission) {
			t.Skip("mounting needs root: ", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// open returns the store in a directory and closes it at the end, so that the directory can be unmounted.
func open(t *testing.T, dir string) *folder.Store {
	s := folder.New(dir)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestFullDisk(t *testing.T) {
	dir := mount(t, "4m")
	fill(t, dir,
		member{base: hash("a") + "-a", nar: nar("broken " + noise(2<<20)), compression: compression.None},
		member{base: hash("b") + "-b", nar: nar("broken " + noise(1<<20)), compression: compression.None})
	before := read(t, dir)
	o := binarycache.RewriteOptions{Prune: true}
	repairing(&o)
	sum, err := binarycache.Rewrite(t.Context(), open(t, dir), o)
	if !errors.Is(err, syscall.ENOSPC) || sum.Paths[binarycache.Failed] == 0 {
		t.Fatalf("got %+v, %v", sum, err)
	}
	valid(t, dir)
	after := read(t, dir)
	for name := range before {
		if after[name] != before[name] {
			t.Errorf("%s has changed", name)
		}
	}
	// With room, the run goes on to its end.
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=16m"); err != nil {
		t.Fatal(err)
	}
	if sum, _ := rewrite(t, dir, o); sum.Paths[binarycache.Changed] != 2 {
		t.Errorf("with room: %s", statuses(sum))
	}
	valid(t, dir)
	if n := len(read(t, dir)); n != len(before) {
		t.Errorf("%d files, want %d", n, len(before))
	}
}

func TestFullOutput(t *testing.T) {
	out := filepath.Join(mount(t, "1m"), "cache")
	dir := newCache(t, member{base: hash("a") + "-a", nar: nar("whole " + noise(2<<20)), compression: compression.None})
	before := read(t, dir)
	sum, err := binarycache.Rewrite(t.Context(), open(t, dir), binarycache.RewriteOptions{Output: open(t, out)})
	if !errors.Is(err, syscall.ENOSPC) || sum.Paths[binarycache.Failed] != 1 {
		t.Errorf("got %+v, %v", sum, err)
	}
	if !maps.Equal(read(t, dir), before) {
		t.Error("the input has changed")
	}
	if got := read(t, out); len(got) != 1 { // nix-cache-info
		t.Errorf("the output: %d files", len(got))
	}
}

func TestReadOnlyCache(t *testing.T) {
	dir := mount(t, "4m")
	fill(t, dir, member{base: hash("a") + "-a", nar: nar("broken")})
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	before := read(t, dir)
	o := binarycache.RewriteOptions{}
	repairing(&o)
	if _, err := binarycache.Rewrite(t.Context(), open(t, dir), o); !errors.Is(err, syscall.EROFS) {
		t.Errorf("in place: %v", err)
	}
	o.DryRun = true
	if sum, _ := rewrite(t, dir, o); statuses(sum) != "changed=1" {
		t.Errorf("dry run: %s", statuses(sum))
	}
	o.DryRun = false
	out := t.TempDir()
	o.Output = open(t, out)
	if sum, _ := rewrite(t, dir, o); statuses(sum) != "changed=1" {
		t.Errorf("to an output: %s", statuses(sum))
	}
	valid(t, out)
	if !maps.Equal(read(t, dir), before) {
		t.Error("files have changed")
	}
	if _, err := os.Stat(filepath.Join(dir, ".narseal")); err == nil {
		t.Error("a state directory in a read-only cache")
	}
}
