package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"narseal/nar/nartest"
)

// A path that lost files or parts of them is not called valid, whoever has left it so: neither by store verify nor by store
// repair, even if no signature is left in it that could be invalid.
func TestStoreLost(t *testing.T) {
	nixes(t, func(t *testing.T, s *nixStore) {
		_, repaired := rewritten(t, "lld-arm64")
		whole, cut, lost, link := s.path("a", "whole"), s.path("b", "cut"), s.path("c", "lost"), s.path("d", "link")
		tree := nartest.Dir{"hello": nartest.Exec(repaired), "many": nartest.Dir{"1": nartest.File("1"), "2": nartest.File("22")}, "to": nartest.Symlink("hello")}
		s.nix(exportOf([]closurePath{
			{path: whole, tree: tree}, {path: cut, tree: tree}, {path: lost, tree: tree}, {path: link, tree: nartest.Symlink("nowhere")},
		}), "nix-store", "--import")
		s.want(0, "store", "verify")
		s.want(0, "store", "repair")

		for _, dir := range []string{cut + "/many", lost} {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(cut+"/many/2", 0o644); err != nil {
			t.Fatal(err)
		}
		writeFile(t, cut+"/many/2", nil)
		if err := os.Remove(lost + "/hello"); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"verify"}, {"repair"}, {"repair", "--dry-run"}, {"verify", cut, lost}, {"repair", cut, lost}} {
			_, stderr := s.want(1, append([]string{"store"}, args...)...)
			for _, path := range []string{cut, lost} {
				if !strings.Contains(stderr, path+": its contents do not match Nix's database: its archive has ") {
					t.Errorf("%q does not report %s: %s", args, path, stderr)
				}
			}
			for _, path := range []string{whole, link} {
				if strings.Contains(stderr, filepath.Base(path)) {
					t.Errorf("%q reports %s: %s", args, path, stderr)
				}
			}
		}
	})
}

// Root leaves another user's store alone: that user could not remove the repaired paths, nor anything that refers to them.
func TestStoreOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be another user")
	}
	s := newNixStore(t)
	_, _, app, tool := s.fill()
	before := s.rows()
	state := s.get("NIX_STATE_DIR")
	if err := os.Chown(state+"/db", 1, 1); err != nil {
		t.Fatal(err)
	}
	if _, stderr := s.want(1, "store", "repair"); !strings.Contains(stderr, "/db belongs to user 1") || !strings.Contains(stderr, "sudo -u '#1' narseal store repair") {
		t.Errorf("%s", stderr)
	}
	if out, _ := s.want(0, "store", "repair", "--dry-run"); out != app+"\n"+tool+"\n" {
		t.Errorf("a dry run: %q", out)
	}
	if !reflect.DeepEqual(s.rows(), before) {
		t.Error("the store has changed")
	}
	for _, left := range []string{"/narseal", "/narseal.lock"} {
		if _, err := os.Lstat(state + left); err == nil {
			t.Errorf("%s is left", left)
		}
	}
	if err := os.Chown(state+"/db", 0, 0); err != nil {
		t.Fatal(err)
	}
	s.want(0, "store", "repair")
	s.clean("after")
}
