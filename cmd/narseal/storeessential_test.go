package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"narseal/nar/nartest"
)

// What Nix itself needs is never gone, not even while it is replaced: who is cut then could not complete it.
func TestStoreOfNixItself(t *testing.T) {
	s := newNixStore(t)
	lib, nix := s.path("c", "lib"), s.path("d", "nix")
	stale, _ := rewritten(t, "lld-arm64")
	log := filepath.Join(t.TempDir(), "log")
	script := "#!/bin/sh\necho \"$@\" >>" + log + "\nexec " + s.tool("nix-store") + " \"$@\"\n"
	s.nix(exportOf([]closurePath{
		{path: lib, tree: nartest.Dir{"x": nartest.Exec(stale)}},
		{path: nix, refs: []string{lib}, tree: nartest.Dir{"x": nartest.Exec(stale), "bin": nartest.Dir{"nix-store": nartest.Exec([]byte(script))}}},
	}), "nix-store", "--import")
	path := s.get("PATH")
	s.set("PATH", nix+"/bin:"+path)
	if out, stderr := s.want(0, "store", "repair"); out != lib+"\n"+nix+"\n" {
		t.Errorf("%s%s", out, stderr)
	}
	if calls := string(readFile(t, log)); strings.Contains(calls, "--repair-path") || strings.Count(calls, "--register-validity") != 2 {
		t.Errorf("it called nix-store with\n%s", calls)
	}
	s.set("PATH", path)
	s.clean("after")
	s.want(0, "store", "verify")
}

// A run that is killed while it gives a new tree the name of Nix leaves no Nix, where the file system cannot exchange two
// names. The next run finds it.
func TestStoreBringsBackNix(t *testing.T) {
	s := newNixStore(t)
	nix := s.path("d", "nix")
	stale, _ := rewritten(t, "lld-arm64")
	s.nix(exportOf([]closurePath{{path: nix, tree: nartest.Dir{
		"x": nartest.Exec(stale), "bin": nartest.Dir{"nix-store": nartest.Exec([]byte("#!/bin/sh\nexec " + s.tool("nix-store") + " \"$@\"\n"))},
	}}}), "nix-store", "--import")
	path := s.get("PATH")
	s.set("PATH", nix+"/bin")
	if err := os.Rename(nix, s.dir+"/.narseal-old-"+filepath.Base(nix)); err != nil {
		t.Fatal(err)
	}
	if _, stderr := s.want(1, "store", "repair", "--dry-run"); !strings.Contains(stderr, "neither nix-store nor nix is on PATH") {
		t.Errorf("a dry run: %s", stderr)
	}
	if out, stderr := s.want(0, "store", "repair"); out != nix+"\n" {
		t.Errorf("%s%s", out, stderr)
	}
	s.set("PATH", path)
	s.clean("after")
	if left, _ := filepath.Glob(s.dir + "/.narseal*"); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// A Nix in the store directory that is no path of this database is no obstacle: it was put there, or the database is that
// of another root.
func TestStoreOfAnotherNix(t *testing.T) {
	s := newNixStore(t)
	_, _, app, tool := s.fill()
	nix := s.path("n", "nix")
	if err := os.MkdirAll(nix+"/bin", 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, nix+"/bin/nix-store", []byte("#!/bin/sh\nexec "+s.tool("nix-store")+" \"$@\"\n"))
	if err := os.Chmod(nix+"/bin/nix-store", 0o755); err != nil {
		t.Fatal(err)
	}
	s.set("PATH", nix+"/bin:"+s.get("PATH"))
	if out, stderr := s.want(0, "store", "repair"); out != app+"\n"+tool+"\n" {
		t.Errorf("%s%s", out, stderr)
	}
	s.set("NIX_REMOTE", "local?root="+t.TempDir())
	s.env = slices.DeleteFunc(s.env, func(kv string) bool { return strings.HasPrefix(kv, "NIX_STATE_DIR=") })
	stale, _ := rewritten(t, "lld-arm64")
	other := s.path("k", "other")
	s.nix(exportOf([]closurePath{{path: other, tree: nartest.Dir{"x": nartest.Exec(stale)}}}), "nix-store", "--import")
	if out, stderr := s.want(0, "store", "repair"); out != other+"\n" {
		t.Errorf("below a root: %s%s", out, stderr)
	}
	s.clean("below a root")
}

// Where only Nix can replace its own path, it is left alone: Nix would remove it first.
func TestStoreLeavesNix(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := newNixStore(t)
	s.set("NIX_REMOTE", "local?root="+root)
	s.env = slices.DeleteFunc(s.env, func(kv string) bool { return strings.HasPrefix(kv, "NIX_STATE_DIR=") })
	t.Cleanup(func() { _ = exec.Command("chmod", "-R", "u+w", root).Run() })
	nix, app := s.path("d", "nix"), s.path("f", "app")
	stale, repaired := rewritten(t, "lld-arm64")
	script := "#!/bin/sh\nexec " + s.tool("nix-store") + " \"$@\"\n"
	s.nix(exportOf([]closurePath{
		{path: nix, tree: nartest.Dir{"x": nartest.Exec(stale), "bin": nartest.Dir{"nix-store": nartest.Exec([]byte(script))}}},
		{path: app, tree: nartest.Dir{"x": nartest.Exec(stale)}},
	}), "nix-store", "--import")
	path := s.get("PATH")
	s.set("PATH", root+"/nix/store/"+filepath.Base(nix)+"/bin:"+path)
	before := files(t, root+"/nix/store/"+filepath.Base(nix))
	out, stderr := s.want(1, "store", "repair")
	if out != app+"\n" || !strings.Contains(stderr, nix+": the Nix on PATH needs this path itself") || !strings.Contains(stderr, "with another Nix first on PATH") {
		t.Errorf("%s%s", out, stderr)
	}
	if !reflect.DeepEqual(files(t, root+"/nix/store/"+filepath.Base(nix)), before) {
		t.Error("the path of Nix has changed")
	}
	s.set("PATH", path)
	if out, stderr := s.want(0, "store", "repair"); out != nix+"\n" {
		t.Errorf("with another Nix: %s%s", out, stderr)
	}
	s.clean("after")
	if !bytes.Equal(readFile(t, root+"/nix/store/"+filepath.Base(nix)+"/x"), repaired) {
		t.Error("it is not repaired")
	}
}
