package repairnote

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// The note has what is being replaced before it is replaced, for every user to read, and is bounded: beyond that, no path is
// changed.
func TestNoteIsBounded(t *testing.T) {
	dir := t.TempDir()
	n, err := Open(dir, "/used")
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("a", 32) + "-" + strings.Repeat("y", 170)
	name := func(i int) string { return fmt.Sprint(long, i) }
	for i := 0; len(n.dirs[0].Paths)*len(`"",`+name(9999)) < maxNote-10_000; i++ {
		n.dirs[0].Paths = append(n.dirs[0].Paths, name(i))
	}
	for i := 10_000; err == nil && i < 20_000; i++ {
		if err = n.Add(name(i)); err == nil {
			read, readErr := Read(dir)
			if readErr != nil || len(read) != 1 || read[0].Dir != "/used" || !slices.Contains(read[0].Paths, name(i)) {
				t.Fatalf("%d: %v", i, readErr)
			}
		}
	}
	if err == nil || !strings.Contains(err.Error(), "too many repairs are not complete") {
		t.Errorf("%v", err)
	}
	full := len(n.dirs[0].Paths)
	if read, err := Read(dir); err != nil || len(read) != 1 || len(read[0].Paths) != full {
		t.Errorf("the full note: %v", err)
	}
	n.Drop(name(0))
	if err := n.Add(name(20_000)); err != nil {
		t.Errorf("with room: %v", err)
	}
	if info, err := os.Stat(Path(dir)); err != nil || info.Mode() != 0o644 || info.Size() > maxNote {
		t.Errorf("%v, %v", info, err)
	}
}
