package macho_test

import (
	"bytes"
	debugmacho "debug/macho"
	"slices"
	"testing"

	"narseal/macho"
)

// located returns the regions of an image, as of a report in which every slice is stale.
func located(t *testing.T, image macho.Image) *macho.Report {
	t.Helper()
	report := mustVerify(t, image)
	for i := range report.Slices {
		report.Slices[i].Status = macho.StatusStale
	}
	if err := report.Locate(image); err != nil {
		t.Fatal(err)
	}
	return report
}

// The regions of the goldens include the sections that the standard library finds, and cover every byte of the segments
// once.
func TestLocate(t *testing.T) {
	for _, name := range goldenNames(t) {
		data := readGolden(t, "A", name)
		report := located(t, macho.Bytes(data))
		for _, s := range report.Slices {
			f, err := debugmacho.NewFile(bytes.NewReader(data[s.Offset:]))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			var want, got []macho.Region
			for _, x := range f.Sections {
				if x.Flags&0xff != 1 && x.Size > 0 {
					want = append(want, macho.Region{Range: macho.Range{Off: int64(x.Offset), Len: int64(x.Size)}, Segment: x.Seg, Section: x.Name})
				}
			}
			total, rest := int64(0), map[string]int64{}
			last := int64(0)
			for _, r := range s.Regions {
				if r.Section != "" {
					got = append(got, r)
				} else if r.Off < last {
					t.Errorf("%s: %s: %+v lies in the region before it", name, s.Arch, r)
				}
				total += r.Len
				rest[r.Segment] += r.Len
				last = r.Off + r.Len
			}
			slices.SortStableFunc(want, func(a, b macho.Region) int { return int(a.Off - b.Off) })
			if len(want) == 0 || !slices.Equal(got, want) {
				t.Errorf("%s: %s: sections %+v, want %+v", name, s.Arch, got, want)
			}
			for _, l := range f.Loads {
				if seg, ok := l.(*debugmacho.Segment); ok && seg.Filesz > 0 && seg.Name != "" && rest[seg.Name] != int64(seg.Filesz) {
					t.Errorf("%s: %s: regions of %d bytes in %s, which has %d", name, s.Arch, rest[seg.Name], seg.Name, seg.Filesz)
				}
			}
			if total == 0 {
				t.Errorf("%s: %s: no regions", name, s.Arch)
			}
		}
		// The result is the same if the image is read.
		for i, s := range located(t, opaque{data}).Slices {
			if !slices.Equal(s.Regions, report.Slices[i].Regions) {
				t.Errorf("%s: regions depend on the kind of image", name)
			}
		}
	}
}

// Slices without a problem are not located, nor is a file that is no image.
func TestLocateNothing(t *testing.T) {
	for _, data := range [][]byte{readGolden(t, "A", "lld-arm64"), []byte("no image"), nil} {
		report := mustVerify(t, macho.Bytes(data))
		if err := report.Locate(macho.Bytes(data)); err != nil {
			t.Error(err)
		}
		for _, s := range report.Slices {
			if s.Regions != nil {
				t.Errorf("regions of a valid slice: %+v", s.Regions)
			}
		}
	}
}

// Only slices with a problem are located.
func TestLocateStaleSlice(t *testing.T) {
	data := readGolden(t, "A", "lld-universal")
	report := mustVerify(t, macho.Bytes(data))
	data[report.Slices[1].Offset+0x1000] ^= 1
	report = mustVerify(t, macho.Bytes(data))
	if err := report.Locate(macho.Bytes(data)); err != nil {
		t.Fatal(err)
	}
	if report.Slices[0].Regions != nil || report.Slices[1].Regions == nil {
		t.Errorf("regions: %d and %d", len(report.Slices[0].Regions), len(report.Slices[1].Regions))
	}
}

// FuzzLocate checks that regions lie in the slice, by rising offset, and that their number is bounded by the bytes of
// the load commands.
func FuzzLocate(f *testing.F) {
	all := bases(f)
	for i := range all {
		f.Add(uint8(i), []byte(nil))
		f.Add(uint8(i), []byte("\x80\x40\x01\x00\x03"))
	}
	f.Fuzz(func(t *testing.T, which uint8, patches []byte) {
		data := all[int(which)%len(all)].patched(patches)
		for _, s := range located(t, macho.Bytes(data)).Slices {
			if len(s.Regions) > len(data)/20 {
				t.Errorf("%d regions in %d bytes", len(s.Regions), len(data))
			}
			last := int64(0)
			for _, r := range s.Regions {
				if r.Len <= 0 || r.Off < last || s.Offset+r.Off+r.Len > int64(len(data)) {
					t.Fatalf("region %+v of the slice at %d, after one at %d, in %d bytes", r, s.Offset, last, len(data))
				}
				last = r.Off
			}
		}
	})
}
