package macho_test

import (
	"bytes"
	"slices"
	"testing"

	"narseal/macho"
	"narseal/macho/machotest"
)

func matrixCase(t testing.TB, name string) machotest.Case {
	t.Helper()
	for _, c := range matrixA() {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no case %q in the matrix", name)
	return machotest.Case{}
}

// TestSpecialFlip damages each blob. Exactly its special slot must be stale, and a repair of it alone must give the
// same as a repair of everything.
func TestSpecialFlip(t *testing.T) {
	c := matrixCase(t, "special")
	l := c.Layouts[0]
	for slot, at := range l.Blobs {
		if slot == 0 || slot >= 0x1000 {
			continue
		}
		damaged := bytes.Clone(c.Data)
		damaged[at+9] ^= 1
		report := mustVerify(t, macho.Bytes(damaged))
		if s := report.Slices[0]; s.Status != macho.StatusStale {
			t.Errorf("blob %d: status %s, want stale", slot, s.Status)
		}
		for _, cd := range report.Slices[0].CodeDirectories {
			if len(cd.Stale) != 0 || !slices.Equal(cd.StaleSpecial, []int{int(slot)}) {
				t.Errorf("blob %d: CodeDirectory %#x has stale pages %v and special slots %v, want none and [%d]", slot, cd.Slot, cd.Stale, cd.StaleSpecial, slot)
			}
		}
		want := bytes.Clone(damaged)
		if _, err := macho.Repair(macho.Bytes(want)); err != nil {
			t.Fatal(err)
		}
		if !mustVerify(t, macho.Bytes(want)).OK() {
			t.Errorf("blob %d: the repaired image is invalid", slot)
		}
		got := bytes.Clone(damaged)
		if _, err := macho.RepairTouched(macho.Bytes(got), []macho.Range{{Off: at + 9, Len: 1}}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("blob %d: a touched repair differs from a full one", slot)
		}
		got[at+9] ^= 1
		if _, err := macho.RepairTouched(macho.Bytes(got), []macho.Range{{Off: at + 9, Len: 1}}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, c.Data) {
			t.Errorf("blob %d: undoing the damage and a repair do not give the original", slot)
		}
	}
}

// TestSlotFlip damages slots instead of their content.
func TestSlotFlip(t *testing.T) {
	for _, name := range []string{"special", "pre-encrypt", "scatter-gaps", "pre-encrypt-one-page", "page-shift-18"} {
		c := matrixCase(t, name)
		l := c.Layouts[0]
		for n, d := range l.Directories {
			flip := func(at int64, page, special []int) {
				t.Helper()
				got := bytes.Clone(c.Data)
				got[at] ^= 1
				cd := mustVerify(t, macho.Bytes(got)).Slices[0].CodeDirectories[n]
				if !slices.Equal(cd.Stale, page) || !slices.Equal(cd.StaleSpecial, special) {
					t.Errorf("%s: slot at %d: stale %v, special %v, want %v, %v", name, at, cd.Stale, cd.StaleSpecial, page, special)
				}
				for _, touched := range [][]macho.Range{nil, {{Off: at, Len: 1}}} {
					repaired := bytes.Clone(got)
					if _, err := repair(macho.Config{}, macho.Bytes(repaired), touched); err != nil {
						t.Fatal(err)
					}
					if !bytes.Equal(repaired, c.Data) {
						t.Errorf("%s: slot at %d: the repair with %v does not give the original", name, at, touched)
					}
				}
			}
			for _, p := range d.Pages {
				flip(d.Hashes+int64(p.Slot)*d.HashSize+3, []int{p.Page}, nil)
				if d.Twin != 0 {
					flip(d.Twin+int64(p.Slot)*d.HashSize+3, []int{p.Page}, nil)
				}
			}
			for k := range d.Special {
				flip(d.Hashes-int64(k)*d.HashSize, nil, []int{k})
			}
		}
	}
}

// TestUntouchedStays checks that a touched repair does not repair damage elsewhere.
func TestUntouchedStays(t *testing.T) {
	c := matrixCase(t, "hash-type-2")
	got := bytes.Clone(c.Data)
	got[1000] ^= 1
	got[9000] ^= 1
	report, err := macho.RepairTouched(macho.Bytes(got), []macho.Range{{Off: 9000, Len: 1}})
	if err != nil {
		t.Fatal(err)
	}
	if cd := report.Slices[0].CodeDirectories[0]; !slices.Equal(cd.Stale, []int{2}) {
		t.Errorf("repaired pages %v, want [2]", cd.Stale)
	}
	if report.Hashed != 4096 {
		t.Errorf("%d bytes hashed, want one page", report.Hashed)
	}
	if cd := mustVerify(t, macho.Bytes(got)).Slices[0].CodeDirectories[0]; !slices.Equal(cd.Stale, []int{0}) {
		t.Errorf("stale after the repair: %v, want [0]", cd.Stale)
	}
	for _, nothing := range [][]macho.Range{nil, {}, {{Off: 1000, Len: 0}}} {
		report, err = macho.RepairTouched(macho.Bytes(got), nothing)
		if err != nil {
			t.Fatal(err)
		}
		if s := report.Slices[0]; s.Status != macho.StatusValid || s.Touched || report.Hashed != 0 {
			t.Errorf("repair of nothing: status %s, touched %v, %d bytes hashed", s.Status, s.Touched, report.Hashed)
		}
	}
}

// TestTouchedJoin passes ranges that overlap, meet, repeat or are empty. Each page must be hashed once.
func TestTouchedJoin(t *testing.T) {
	c := matrixCase(t, "hash-type-2")
	got := bytes.Clone(c.Data)
	for _, at := range []int{5000, 8191, 8192, 9000, 17_000} {
		got[at] ^= 1
	}
	want := bytes.Clone(got)
	if _, err := macho.Repair(macho.Bytes(want)); err != nil {
		t.Fatal(err)
	}
	report, err := macho.RepairTouched(macho.Bytes(got), []macho.Range{
		{Off: 8192, Len: 1000}, {Off: 5000, Len: 1}, {Off: 4990, Len: 3202}, {Off: 5000, Len: 1}, {Off: 17_000, Len: 1}, {Off: 0, Len: 0},
	})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the repair differs from one of everything")
	}
	if cd := report.Slices[0].CodeDirectories[0]; !slices.Equal(cd.Stale, []int{1, 2, 4}) || report.Hashed != 2*4096+(20_000-4*4096) {
		t.Errorf("repaired pages %v, %d bytes hashed", cd.Stale, report.Hashed)
	}
}

func TestTouchedOutside(t *testing.T) {
	c := matrixCase(t, "hash-type-2")
	size := int64(len(c.Data))
	for _, r := range []macho.Range{{Off: -1, Len: 1}, {Off: 0, Len: -1}, {Off: size, Len: 1}, {Off: 1, Len: size}, {Off: 1, Len: 1<<63 - 1}, {Off: 1<<63 - 1, Len: 1}} {
		if _, err := macho.RepairTouched(macho.Bytes(c.Data), []macho.Range{r}); err == nil {
			t.Errorf("no error for the range %+v", r)
		}
	}
}

// TestInfoPlistSection checks that slot -1 is compared with a section of the image, except in a bundle, where it is the
// hash of another file.
func TestInfoPlistSection(t *testing.T) {
	for name, want := range map[string][]int{"info-plist-32-false-big-false": {1}, "info-plist-32-true-big-true": {1}, "bundle-with-section": nil} {
		c := matrixCase(t, name)
		got := bytes.Clone(c.Data)
		got[c.Layouts[0].InfoPlist+3] ^= 1
		for _, cd := range mustVerify(t, macho.Bytes(got)).Slices[0].CodeDirectories {
			if !slices.Equal(cd.Stale, []int{0}) || !slices.Equal(cd.StaleSpecial, want) {
				t.Errorf("%s: stale %v, special %v, want [0], %v", name, cd.Stale, cd.StaleSpecial, want)
			}
		}
	}
}
