package nar_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"narseal/nar/nartest"
)

// nix-store restores and dumps the same archive, for every archive that the file system allows.
func TestArchivesAsNix(t *testing.T) { nartest.EachNix(t, testArchivesAsNix) }

func testArchivesAsNix(t *testing.T) {
	nartest.Tool(t, "nix-store")
	each(t, func(t *testing.T, _ nartest.Node, data []byte) {
		dumped := nartest.Dump(t, nartest.Restore(t, data))
		if !bytes.Equal(dumped, data) {
			t.Errorf("dumped %.1000q\nwant   %.1000q", dumped, data)
		}
		var out bytes.Buffer
		if err := rewrite(&out, bytes.NewReader(dumped)); err != nil || !bytes.Equal(out.Bytes(), dumped) {
			t.Errorf("rewriting what nix-store dumps: %v, or another archive", err)
		}
	})
}

var update = flag.Bool("update", false, "make the files of testdata anew with nix-store")

// fixture reads a file of testdata.
func fixture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The files of testdata are what nix-store writes for these trees, and for the closure of nixExport.
func TestFixtures(t *testing.T) {
	t.Run("closure.export", func(t *testing.T) {
		made := nixExport(t, nartest.Nix(t))
		if *update {
			if err := os.WriteFile(filepath.Join("testdata", "closure.export"), made, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(made, fixture(t, "closure.export")) {
			t.Error("nix-store makes another file")
		}
	})
	for name, root := range map[string]nartest.Node{
		"file.nar": nartest.Exec("#!/bin/sh\necho hello\n"),
		"link.nar": nartest.Symlink("/nix/store/00000000000000000000000000000000-hello/bin/hello"),
		"tree.nar": nartest.Dir{
			"bin":    nartest.Dir{"hello": nartest.Exec("#!/bin/sh\necho hello\n"), "hi": nartest.Symlink("hello")},
			"empty":  nartest.Dir{},
			"readme": nartest.File("A tree with everything that an archive can hold.\n"),
			"\xff":   nartest.File(""),
		},
	} {
		t.Run(name, func(t *testing.T) {
			if !*update {
				if got, want := fixture(t, name), nartest.Tree(root); !bytes.Equal(got, want) {
					t.Errorf("the file holds %q, want %q", got, want)
				}
			}
			made := nartest.Dump(t, nartest.Restore(t, nartest.Tree(root)))
			if *update {
				if err := os.WriteFile(filepath.Join("testdata", name), made, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(made, fixture(t, name)) {
				t.Error("nix-store makes another file")
			}
		})
	}
}
