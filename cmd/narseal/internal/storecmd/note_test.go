package storecmd

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"narseal/cmd/narseal/internal/nixcli"
)

// The note has what is being replaced before it is replaced, for every user to read, and is bounded: beyond that, no path is
// changed.
func TestNoteIsBounded(t *testing.T) {
	s := &nixcli.Store{Dir: "/s", StateDir: t.TempDir()}
	n, err := openNote(s, "/used")
	if err != nil {
		t.Fatal(err)
	}
	long := base + strings.Repeat("y", 170)
	name := func(i int) string { return fmt.Sprint(long, i) }
	for i := 0; len(n.dirs[0].Paths)*len(`"",`+name(9999)) < maxNote-10_000; i++ {
		n.dirs[0].Paths = append(n.dirs[0].Paths, name(i))
	}
	for i := 10_000; err == nil && i < 20_000; i++ {
		if err = n.add(name(i)); err == nil {
			read, readErr := readNote(s)
			if readErr != nil || len(read) != 1 || read[0].Dir != "/used" || !slices.Contains(read[0].Paths, name(i)) {
				t.Fatalf("%d: %v", i, readErr)
			}
		}
	}
	if err == nil || !strings.Contains(err.Error(), "too many repairs are not complete") {
		t.Errorf("%v", err)
	}
	full := len(n.dirs[0].Paths)
	if read, err := readNote(s); err != nil || len(read) != 1 || len(read[0].Paths) != full {
		t.Errorf("the full note: %v", err)
	}
	n.drop(name(0))
	if err := n.add(name(20_000)); err != nil {
		t.Errorf("with room: %v", err)
	}
	if info, err := os.Stat(notePath(s)); err != nil || info.Mode() != 0o644 || info.Size() > maxNote {
		t.Errorf("%v, %v", info, err)
	}
}

// The directories of other stores are found among any number of names.
func TestOthersAmongMany(t *testing.T) {
	s := &nixcli.Store{Dir: "/s", RealDir: t.TempDir(), StateDir: t.TempDir()}
	dir := t.TempDir()
	want := map[string]string{}
	for i := range 3*namesAtOnce + 1 {
		staged := filepath.Join(dir, fmt.Sprint("store-", i))
		names := []string{staged, filepath.Join(dir, fmt.Sprint("other-", i), base)}
		if i%namesAtOnce == 0 {
			names = append(names, filepath.Join(staged, base))
			want[staged] = base
		}
		for _, name := range names {
			if err := os.MkdirAll(name, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(s.RealDir, base), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	others(dir, s, func(other, base string) { got[other] += base })
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("found %v, want %v", got, want)
	}
	if !isUsed(dir, s) {
		t.Error("the directory counts as empty")
	}
	if err := os.Remove(filepath.Join(s.RealDir, base)); err != nil {
		t.Fatal(err)
	}
	if isUsed(dir, s) {
		t.Error("a path that this store does not have counts")
	}
}
