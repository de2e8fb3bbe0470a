package macho_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"narseal/macho"
)

// The store hashes that the two images of a golden pair hold.
var (
	hashA = []byte(strings.Repeat("a", 32))
	hashB = []byte(strings.Repeat("b", 32))
)

const goldens = "../testdata/macho/goldens"

// goldenNames lists the golden pairs; there must be some.
func goldenNames(t testing.TB) []string {
	entries, err := os.ReadDir(filepath.Join(goldens, "A"))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) < 11 {
		t.Fatalf("%d golden pairs, want at least 11", len(entries))
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func readGolden(t testing.TB, side, name string) []byte {
	data, err := os.ReadFile(filepath.Join(goldens, side, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// rewrite replaces each occurrence of from in a copy of data and returns where.
func rewrite(data, from, to []byte) ([]byte, []macho.Range) {
	out := bytes.Clone(data)
	touched := []macho.Range{}
	for pos := 0; ; {
		i := bytes.Index(data[pos:], from)
		if i < 0 {
			return out, touched
		}
		copy(out[pos+i:], to)
		touched = append(touched, macho.Range{Off: int64(pos + i), Len: int64(len(from))})
		pos += i + len(from)
	}
}

// TestGoldens rewrites one image of a pair and repairs it: the other one, which
// was linked and signed apart, must come out.
func TestGoldens(t *testing.T) {
	for _, name := range goldenNames(t) {
		a, b := readGolden(t, "A", name), readGolden(t, "B", name)
		for _, dir := range []struct {
			name             string
			in, want         []byte
			oldHash, newHash []byte
		}{
			{"A to B", a, b, hashA, hashB},
			{"B to A", b, a, hashB, hashA},
		} {
			for _, mode := range []string{"touched", "all"} {
				t.Run(name+"/"+dir.name+"/"+mode, func(t *testing.T) {
					got, touched := rewrite(dir.in, dir.oldHash, dir.newHash)
					if len(touched) == 0 {
						t.Fatal("the image does not hold the hash")
					}
					if mode == "all" {
						touched = nil
					}
					stale, err := macho.Verify(macho.Bytes(got))
					if err != nil {
						t.Fatal(err)
					}
					if stale.Holds() {
						t.Error("Verify accepts the rewritten image")
					}
					report, err := macho.Repair(macho.Bytes(got), touched)
					if err != nil {
						t.Fatal(err)
					}
					if !report.Holds() {
						t.Errorf("repair reports %+v", report.Slices)
					}
					if !bytes.Equal(got, dir.want) {
						t.Error("the repaired image differs from the other one of the pair")
					}
				})
			}
		}
	}
}

// TestGoldensValid checks that images as they left the linker are valid.
func TestGoldensValid(t *testing.T) {
	for _, name := range goldenNames(t) {
		for _, side := range []string{"A", "B"} {
			report, err := macho.Verify(macho.Bytes(readGolden(t, side, name)))
			if err != nil {
				t.Fatal(err)
			}
			if len(report.Slices) == 0 {
				t.Errorf("%s/%s: no slices", side, name)
			}
			for _, s := range report.Slices {
				if s.Status != macho.StatusValid || s.Reason != "" {
					t.Errorf("%s/%s: %s is %s (%s), want valid", side, name, s.Arch, s.Status, s.Reason)
				}
			}
		}
	}
}
