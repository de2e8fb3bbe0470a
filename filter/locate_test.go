package filter_test

import (
	"bytes"
	"reflect"
	"testing"

	"narseal/filter"
	"narseal/filter/spill"
	"narseal/macho"
	"narseal/macho/machotest"
	"narseal/nar"
	"narseal/nar/nartest"
)

// Locate adds regions to what does not hold, as macho finds them, whether the
// image is held in memory or not, and to nothing else.
func TestLocate(t *testing.T) {
	image := func(stale bool) []byte {
		data, layout := machotest.Image{CodeSize: 30000, Directories: []machotest.Directory{{PageShift: 12}}}.Build()
		if stale {
			data[layout.Offset+layout.Directories[0].Hashes] ^= 1
		}
		return data
	}
	stale := image(true)
	rep, err := macho.Verify(macho.Bytes(stale))
	if err == nil {
		err = rep.Locate(macho.Bytes(stale))
	}
	if err != nil || len(rep.Slices[0].Regions) == 0 {
		t.Fatalf("%d regions, %v", len(rep.Slices[0].Regions), err)
	}
	archive := nartest.Tree(nartest.Dir{"good": nartest.Exec(image(false)), "stale": nartest.Exec(stale)})
	for _, memory := range []int64{0, 1} {
		for _, repair := range []filter.RepairMode{filter.RepairNone, filter.RepairTouched} {
			got := map[string][]macho.Region{}
			var made spillFiles
			c := &filter.Config{
				Signatures: filter.SignatureOptions{Repair: repair, Verify: true, Locate: true},
				Spill:      spill.Options{Memory: memory, Open: made.new},
				Observer:   filter.Observer{Signature: func(s filter.Signature) { got[s.Path.String()] = s.Regions }},
			}
			if _, err := c.Run(nil, nar.NewReader(bytes.NewReader(archive))); err != nil {
				t.Fatal(err)
			}
			if len(got) != 2 || got["/good"] != nil || !reflect.DeepEqual(got["/stale"], rep.Slices[0].Regions) {
				t.Errorf("memory %d, repair %d: %+v, want %+v", memory, repair, got, rep.Slices[0].Regions)
			}
		}
	}
}
