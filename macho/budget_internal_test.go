package macho

import (
	"errors"
	"testing"

	"narseal/macho/machotest"
)

// TestBudget parses an image with every budget. Too small a one makes the slice malformed and never unsigned; the real
// one is more than ten times what the image needs.
func TestBudget(t *testing.T) {
	data, _ := machotest.Image{CodeSize: 1200, InfoPlist: []byte("<plist/>"), Directories: []machotest.Directory{
		{HashType: 1, PageShift: 12, Version: 0x20500, Team: "TEAM", Scatter: [][2]uint32{{1, 0}}},
		{Slot: 0x1000, PageShift: 12},
	}}.Build()
	image := Bytes(data)
	parse := func(left int64) (*slice, *signature) {
		src := newWindow(image)
		src.left = left
		all, err := parseContainer(src)
		if errors.Is(err, errBudget) {
			return nil, nil // the real budget is enough for the container of any image
		}
		if err != nil || len(all) != 1 {
			t.Fatalf("%d slices, %v", len(all), err)
		}
		if err := all[0].readHeader(src, false); err != nil {
			t.Fatal(err)
		}
		if !all[0].signed() {
			t.Fatalf("unsigned with a budget of %d bytes", left)
		}
		g, err := all[0].readSignature(src)
		if err != nil {
			t.Fatal(err)
		}
		return all[0], g
	}
	enough := int64(-1)
	for left := range budget(image.Size()) {
		s, g := parse(left)
		if s == nil {
			continue
		}
		switch r := s.refuse(g); {
		case r == nil && enough < 0:
			enough = left
		case r == nil:
		case enough >= 0:
			t.Fatalf("enough with %d bytes, but with %d: %s", enough, left, r.reason)
		case r.status != StatusMalformed:
			t.Fatalf("%d bytes: %s: %s", left, r.status, r.reason)
		}
	}
	if enough < 0 || enough > budget(image.Size())/10 {
		t.Errorf("parsing takes %d bytes, the budget is %d", enough, budget(image.Size()))
	}
}
