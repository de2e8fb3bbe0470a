package macho_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"narseal/macho"
	"narseal/macho/machotest"
)

// opaque hides that an image is in memory, so that it is read like a file.
type opaque struct{ macho.Bytes }

// views has the kinds of Image for the same bytes. The results must not depend on the kind.
var views = map[string]func(b []byte) macho.Image{
	"memory": func(b []byte) macho.Image { return macho.Bytes(b) },
	"file":   func(b []byte) macho.Image { return opaque{b} },
	"viewer": func(b []byte) macho.Image { return &viewer{opaque: opaque{b}} },
}

func mustVerify(t testing.TB, image macho.Image) *macho.Report {
	t.Helper()
	report, err := macho.Verify(image)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// repair calls Repair if touched is nil, and RepairTouched otherwise.
func repair(c macho.Config, image macho.Image, touched []macho.Range) (*macho.Report, error) {
	if touched == nil {
		return c.Repair(image)
	}
	return c.RepairTouched(image, touched)
}

// signedSlices returns the slices of a report that have a signature.
func signedSlices(report *macho.Report) []macho.Slice {
	var signed []macho.Slice
	for _, s := range report.Slices {
		if s.Status != macho.StatusUnsigned {
			signed = append(signed, s)
		}
	}
	return signed
}

// isStatus reports whether the slice of a case has this status or, where that is valid or repaired and the kernel refuses
// the case, is refused for the reason that the case says.
func isStatus(c machotest.Case, s macho.Slice, want macho.Status) bool {
	if c.Refused == "" || !want.OK() {
		return s.Status == want
	}
	return s.Status == macho.StatusRefused && strings.HasPrefix(s.Reason, c.Refused+": ")
}

// matrixA is the matrix with hash A. Tests work on copies of its images.
var matrixA = sync.OnceValue(func() []machotest.Case { return machotest.Matrix(string(hashA)) })

func TestMatrixValid(t *testing.T) {
	for _, c := range matrixA() {
		for view, image := range views {
			signed := signedSlices(mustVerify(t, image(c.Data)))
			if len(signed) != len(c.Layouts) {
				t.Errorf("%s: %d signed slices, want %d", c.Name, len(signed), len(c.Layouts))
				continue
			}
			for i, s := range signed {
				if !isStatus(c, s, macho.StatusValid) {
					t.Errorf("%s (%s): %s: %s, want valid or the rule %q", c.Name, view, s.Status, s.Reason, c.Refused)
				}
				if s.Offset != c.Layouts[i].Offset || len(s.CodeDirectories) != len(c.Layouts[i].Directories) {
					t.Errorf("%s: slice at %d with %d CodeDirectories, want %d with %d", c.Name,
						s.Offset, len(s.CodeDirectories), c.Layouts[i].Offset, len(c.Layouts[i].Directories))
				}
				if (s.Signature == "cms") != c.CMS {
					t.Errorf("%s: signature %q", c.Name, s.Signature)
				}
			}
		}
		if v, _ := probe(t, c.Data); v != macho.Signed {
			t.Errorf("%s: Probe says %d, want Signed", c.Name, v)
		}
	}
}

// TestMatrixRewrite rewrites the hash in an image and repairs it. The result must be the image that was built with the
// other hash.
func TestMatrixRewrite(t *testing.T) {
	fromA, fromB := matrixA(), machotest.Matrix(string(hashB))
	for i, a := range fromA {
		if a.CMS {
			continue
		}
		b := fromB[i]
		for view, image := range views {
			for _, jobs := range []int{1, 3} {
				for _, all := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s/%s/jobs-%d/all-%v", a.Name, view, jobs, all), func(t *testing.T) {
						got, touched := rewrite(a.Data, hashA, hashB)
						if len(touched) < 3 {
							t.Fatalf("the hash is in the image %d times", len(touched))
						}
						slices.Reverse(touched) // in no order
						if all {
							touched = nil
						}
						report, err := repair(macho.Config{Jobs: jobs}, image(got), touched)
						if err != nil {
							t.Fatal(err)
						}
						if !bytes.Equal(got, b.Data) {
							t.Errorf("the repaired image differs from the one built with the other hash: %+v", report.Slices)
						}
						for _, s := range signedSlices(report) {
							if !isStatus(a, s, macho.StatusRepaired) || !s.Touched {
								t.Errorf("status %s (%s), touched %v, want repaired and touched", s.Status, s.Reason, s.Touched)
							}
						}
					})
				}
			}
		}
	}
}

// TestMatrixFlip damages a byte of every page of every image. Verify must report that page, and no other, in the
// CodeDirectories that have a slot for it. Repair must change those slots, and nothing else.
func TestMatrixFlip(t *testing.T) {
	for _, c := range matrixA() {
		if c.CMS || testing.Short() && len(c.Data) > 256<<10 {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			for i, l := range c.Layouts {
				offsets := flipOffsets(l)
				if len(offsets) == 0 {
					t.Error("no page was damaged")
				}
				for _, at := range offsets {
					checkFlip(t, c, i, at)
				}
			}
		})
	}
}

// flipOffsets returns an offset in every page of a slice, after the load commands and outside the Info.plist section,
// which a special slot covers too. For a large slice it returns some of the pages.
func flipOffsets(l *machotest.Layout) []int64 {
	var offsets []int64
	for _, d := range l.Directories {
		for i, p := range d.Pages {
			at := p.From + int64(i*37)%(p.To-p.From)
			if at < l.CommandsEnd+100 {
				at = p.To - 1
			}
			if at >= l.CommandsEnd+100 {
				offsets = append(offsets, at)
			}
		}
	}
	slices.Sort(offsets)
	offsets = slices.Compact(offsets)
	if l.Signature > 256<<10 && len(offsets) > 40 {
		step := len(offsets) / 40
		var some []int64
		for i := 0; i < len(offsets); i += step {
			some = append(some, offsets[i])
		}
		return some
	}
	return offsets
}

// checkFlip damages the byte at an offset of slice i of an image.
func checkFlip(t *testing.T, c machotest.Case, i int, at int64) {
	t.Helper()
	l := c.Layouts[i]
	damaged := bytes.Clone(c.Data)
	damaged[l.Offset+at] ^= 0x10

	// The pages that must be stale, and the places of their slots, by the layout.
	want := make([][]int, len(l.Directories))
	var slots []macho.Range
	for n, d := range l.Directories {
		want[n] = []int{}
		for _, p := range d.Pages {
			if p.From <= at && at < p.To {
				want[n] = append(want[n], p.Page)
				slots = append(slots, macho.Range{Off: l.Offset + d.Hashes + int64(p.Slot)*d.HashSize, Len: d.HashSize})
				if d.Twin != 0 {
					slots = append(slots, macho.Range{Off: l.Offset + d.Twin + int64(p.Slot)*d.HashSize, Len: d.HashSize})
				}
			}
		}
	}
	checkStale := func(report *macho.Report, status macho.Status) {
		t.Helper()
		for j, s := range signedSlices(report) {
			if j != i {
				if !isStatus(c, s, macho.StatusValid) {
					t.Errorf("slice %d, which was not damaged, is %s", j, s.Status)
				}
				continue
			}
			if !isStatus(c, s, status) {
				t.Fatalf("damaged at %d: status %s (%s), want %s", at, s.Status, s.Reason, status)
			}
			for n, cd := range s.CodeDirectories {
				if cd.Slot != l.Directories[n].Slot || !slices.Equal(cd.Stale, want[n]) || len(cd.StaleSpecial) > 0 {
					t.Fatalf("damaged at %d: CodeDirectory %#x has stale pages %v and special slots %v, want %v and none",
						at, cd.Slot, cd.Stale, cd.StaleSpecial, want[n])
				}
			}
		}
	}
	checkStale(mustVerify(t, macho.Bytes(damaged)), macho.StatusStale)

	repaired := bytes.Clone(damaged)
	report, err := macho.Repair(macho.Bytes(repaired))
	if err != nil {
		t.Fatal(err)
	}
	checkStale(report, macho.StatusRepaired)
	only := bytes.Clone(damaged)
	for _, r := range slots {
		copy(only[r.Off:r.Off+r.Len], repaired[r.Off:])
	}
	if !bytes.Equal(only, repaired) {
		t.Fatalf("damaged at %d: repair changed bytes that are in no stale slot", at)
	}
	for _, s := range signedSlices(mustVerify(t, macho.Bytes(repaired))) {
		if !isStatus(c, s, macho.StatusValid) {
			t.Fatalf("damaged at %d: the repaired image is invalid: %+v", at, s)
		}
	}
	again := bytes.Clone(repaired)
	if _, err := macho.Repair(macho.Bytes(again)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again, repaired) {
		t.Fatalf("damaged at %d: a second repair changed the image", at)
	}
	again[l.Offset+at] ^= 0x10
	if _, err := macho.RepairTouched(macho.Bytes(again), []macho.Range{{Off: l.Offset + at, Len: 1}}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again, c.Data) {
		t.Fatalf("damaged at %d: undoing the damage and a touched repair do not give the original", at)
	}
}
