package filter_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"narseal/filter"
	"narseal/filter/spill"
	"narseal/macho"
	"narseal/macho/machotest"
	"narseal/nar"
	"narseal/nar/nartest"
)

// unsignedArchive returns an archive with unsigned programs between signed ones.
func unsignedArchive() []byte {
	signed, _ := machotest.Image{CodeSize: 40_000, Directories: []machotest.Directory{{PageShift: 12}}}.Build()
	dir := nartest.Dir{}
	for i := range 300 {
		dir[fmt.Sprintf("%03d", i)] = nartest.Exec(signed)
		if i%3 == 0 {
			dir[fmt.Sprintf("%03d", i)] = nartest.Exec(machotest.Unsigned(signed))
		}
	}
	return nartest.Tree(dir)
}

// TestUnsignedOrder checks that unsigned images are reported in the order of the archive, also while other goroutines
// verify the images before them.
func TestUnsignedOrder(t *testing.T) {
	archive := unsignedArchive()
	for _, jobs := range []int{1, 8} {
		n := 0
		c := filter.Config{Signatures: filter.SignatureOptions{Repair: filter.RepairNone, Verify: true, Unsigned: true, Jobs: jobs}}
		c.Observer.Signature = func(s filter.Signature) {
			if want := fmt.Sprintf("/%03d", n); s.Path.String() != want || (s.Status == macho.StatusUnsigned) != (n%3 == 0) || s.OK() != (n%3 != 0) {
				t.Fatalf("%s is %s, want %s", s.Path.String(), s.Status, want)
			}
			n++
		}
		res, err := c.Run(nil, nar.NewReader(bytes.NewReader(archive)))
		if err != nil || n != 300 || res.Unsigned != 100 || res.Images != 200 {
			t.Errorf("%d jobs: %d slices, %d unsigned ones, %d images: %v", jobs, n, res.Unsigned, res.Images, err)
		}
	}
}

// TestUnsignedIsNotHeld checks that an unsigned image needs no place to be kept, and comes out as it is.
func TestUnsignedIsNotHeld(t *testing.T) {
	signed, _ := machotest.Image{CodeSize: 40_000, Text: []byte(oldHash), Directories: []machotest.Directory{{PageShift: 12}}}.Build()
	archive := nartest.Tree(nartest.Dir{"x": nartest.Exec(machotest.Unsigned(signed))})
	full := errors.New("nothing may be kept")
	for _, mode := range []filter.RepairMode{filter.RepairTouched, filter.RepairAll} {
		c := filter.Config{Rules: compile(t, theRule), Signatures: filter.SignatureOptions{Repair: mode, Unsigned: true}}
		c.Spill = spill.Options{Memory: 1, Open: func() (spill.File, error) { return nil, full }}
		var out bytes.Buffer
		res, err := c.Run(nar.NewWriter(&out), nar.NewReader(bytes.NewReader(archive)))
		if err != nil || res.Unsigned != 1 || res.Images != 0 || res.Invalid != 0 {
			t.Errorf("%+v: %v", res, err)
		}
		if want := bytes.ReplaceAll(archive, []byte(oldHash), []byte(newHash)); !bytes.Equal(out.Bytes(), want) {
			t.Error("the output is another")
		}
	}
}
