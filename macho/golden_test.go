package macho_test

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"narseal/macho"
)

// The store hashes in the two images of a golden pair.
var (
	hashA = []byte(strings.Repeat("a", 32))
	hashB = []byte(strings.Repeat("b", 32))
)

const goldens = "../testdata/macho/goldens"

// goldenNames returns the names of the golden pairs, and fails the test if there are too few.
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

// rewrite replaces each occurrence of from in a copy of data, and returns the copy and the places.
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

// TestGoldens rewrites one image of a pair and repairs it. The result must be the other one, which was linked and
// signed separately.
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
						t.Fatal("the hash is not in the image")
					}
					if mode == "all" {
						touched = nil
					}
					stale, err := macho.Verify(macho.Bytes(got))
					if err != nil {
						t.Fatal(err)
					}
					if stale.OK() {
						t.Error("Verify accepts the rewritten image")
					}
					report, err := repair(macho.Config{}, macho.Bytes(got), touched)
					if err != nil {
						t.Fatal(err)
					}
					if !report.OK() {
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

// TestGoldensValid checks that images as linked are valid.
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

// TestGoldenFlip damages a byte of every page of every golden. Verify must report that page, and nothing else, in every
// CodeDirectory of its slice, and a repair must change nothing before the signature.
func TestGoldenFlip(t *testing.T) {
	for _, name := range goldenNames(t) {
		intact := readGolden(t, "A", name)
		slices := mustVerify(t, macho.Bytes(intact)).Slices
		for i, s := range slices {
			size := s.CodeDirectories[0].PageSize
			sig := s.Offset + int64(bytes.Index(intact[s.Offset:], []byte{0xfa, 0xde, 0x0c, 0xc0}))
			for page := int64(0); s.Offset+page*size < sig; page++ {
				// Page 0 begins with load commands; its end is padding.
				at := min(s.Offset+(page+1)*size, sig) - 1
				damaged := bytes.Clone(intact)
				damaged[at] ^= 0x40
				check := func(report *macho.Report, status macho.Status) {
					t.Helper()
					for j, s := range report.Slices {
						want, wantStale := macho.StatusValid, []int{}
						if i == j {
							want, wantStale = status, []int{int(page)}
						}
						if s.Status != want || len(s.CodeDirectories) != len(slices[j].CodeDirectories) {
							t.Fatalf("%s: damaged at %d: slice %d is %s (%s), want %s", name, at, j, s.Status, s.Reason, want)
						}
						for _, cd := range s.CodeDirectories {
							if !reflect.DeepEqual(cd.Stale, wantStale) || len(cd.StaleSpecial) > 0 {
								t.Fatalf("%s: damaged at %d: stale %v, special %v, want %v, none", name, at, cd.Stale, cd.StaleSpecial, wantStale)
							}
						}
					}
				}
				check(mustVerify(t, macho.Bytes(damaged)), macho.StatusStale)
				repaired := bytes.Clone(damaged)
				report, err := macho.Repair(macho.Bytes(repaired))
				if err != nil {
					t.Fatal(err)
				}
				check(report, macho.StatusRepaired)
				if !mustVerify(t, macho.Bytes(repaired)).OK() || !bytes.Equal(repaired[:sig], damaged[:sig]) {
					t.Fatalf("%s: damaged at %d: the repaired image is invalid, or the repair changed code", name, at)
				}
				repaired[at] ^= 0x40
				if _, err := macho.Repair(macho.Bytes(repaired)); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(repaired, intact) {
					t.Fatalf("%s: damaged at %d: undoing the damage and a repair do not give the original", name, at)
				}
			}
		}
	}
}
