package nartest_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"narseal/nar/nartest"
)

var tree = nartest.Dir{
	"empty": nartest.Dir{},
	"bin": nartest.Dir{
		"a":  nartest.Exec("#!/bin/sh\n"),
		"a-": nartest.File("seven b"),
	},
	"nothing": nartest.File(""),
	"link":    nartest.Symlink("bin/a"),
}

// The smallest archive, written by hand from the format's grammar.
func TestTreeBytes(t *testing.T) {
	want := "\x0d\x00\x00\x00\x00\x00\x00\x00nix-archive-1\x00\x00\x00" +
		"\x01\x00\x00\x00\x00\x00\x00\x00(\x00\x00\x00\x00\x00\x00\x00" +
		"\x04\x00\x00\x00\x00\x00\x00\x00type\x00\x00\x00\x00" +
		"\x07\x00\x00\x00\x00\x00\x00\x00symlink\x00" +
		"\x06\x00\x00\x00\x00\x00\x00\x00target\x00\x00" +
		"\x08\x00\x00\x00\x00\x00\x00\x00/nothing" +
		"\x01\x00\x00\x00\x00\x00\x00\x00)\x00\x00\x00\x00\x00\x00\x00"
	if got := nartest.Tree(nartest.Symlink("/nothing")); string(got) != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestTreeIsWhatNixDumps(t *testing.T) {
	nar := nartest.Tree(tree)
	if got := nartest.Dump(t, nartest.Restore(t, nar)); !bytes.Equal(got, nar) {
		t.Errorf("nix-store dumps\n%q\nTree gives\n%q", got, nar)
	}
}

func TestEntriesKeepTheirOrder(t *testing.T) {
	sorted := nartest.Entries{{"a", nartest.File("1")}, {"b", nartest.File("2")}}
	want := nartest.Tree(nartest.Dir{"a": nartest.File("1"), "b": nartest.File("2")})
	if got := nartest.Tree(sorted); !bytes.Equal(got, want) {
		t.Errorf("sorted: got %q, want %q", got, want)
	}
	swapped := nartest.Entries{sorted[1], sorted[0]}
	if got := nartest.Tree(swapped); bytes.Equal(got, want) || len(got) != len(want) {
		t.Errorf("swapped: got %q", got)
	}
}

func TestRestoreRefusesGarbage(t *testing.T) {
	_, err := nartest.TryRestore(t, nartest.Strings("nix-archive-2"))
	if err == nil || !strings.Contains(err.Error(), "bad archive") {
		t.Errorf("got error %v, want nix-store's own", err)
	}
}

func TestStoreIsOnItsOwn(t *testing.T) {
	s := nartest.Nix(t)
	src := filepath.Join(t.TempDir(), "thing")
	if err := os.WriteFile(src, []byte("contents"), 0o644); err != nil {
		t.Fatal(err)
	}
	path := s.Add(src)
	if !strings.HasPrefix(path, "/nix/store/") || !strings.HasSuffix(path, "-thing") {
		t.Fatalf("added as %q", path)
	}
	if got, err := os.ReadFile(s.Real(path)); err != nil || string(got) != "contents" {
		t.Errorf("read %q, %v", got, err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Errorf("%s exists in the machine's own store", path)
	}

	// One store imports what another exports, and the nix command works.
	export := s.Run(nil, "nix-store", "--export", path)
	other := nartest.Nix(t)
	if _, err := other.Try(nil, "nix-store", "--query", "--hash", path); err == nil {
		t.Errorf("a new store knows %s", path)
	}
	if got := strings.TrimSpace(string(other.Run(export, "nix-store", "--import"))); got != path {
		t.Errorf("imported %q, want %q", got, path)
	}
	if got := other.Run(nil, "nix", "path-info", path); strings.TrimSpace(string(got)) != path {
		t.Errorf("nix path-info: %q, want %q", got, path)
	}
}

// verdict is a testing.TB that records how the test ended.
type verdict struct {
	testing.TB
	ended string
}

func (v *verdict) Helper() {}

func (v *verdict) Fatalf(string, ...any) { v.ended = "failed"; panic(v) }

func (v *verdict) Skipf(string, ...any) { v.ended = "skipped"; panic(v) }

func TestTool(t *testing.T) {
	if got := nartest.Tool(t, "no-such-program", "go"); filepath.Base(got) != "go" {
		t.Errorf("got %q, want go", got)
	}
	for require, want := range map[string]string{"": "skipped", "0": "skipped", "1": "failed"} {
		t.Setenv("NARSEAL_REQUIRE_TOOLS", require)
		v := &verdict{TB: t}
		func() {
			defer func() { _ = recover() }()
			nartest.Tool(v, "no-such-program", "nor-this-one")
		}()
		if v.ended != want {
			t.Errorf("NARSEAL_REQUIRE_TOOLS=%q: %q, want %q", require, v.ended, want)
		}
	}
}
