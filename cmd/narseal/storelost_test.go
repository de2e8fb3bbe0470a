package main

import (
	"os"
	"path/filepath"
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
