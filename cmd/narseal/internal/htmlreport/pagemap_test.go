package htmlreport

import (
	"fmt"
	"strings"
	"testing"

	"narseal/macho"
)

func pagesFrom(from, to, step int) []int {
	var pages []int
	for p := from; p < to; p += step {
		pages = append(pages, p)
	}
	return pages
}

// Every bad page is marked in a cell of the grid, whatever its number of pages.
func TestPageMapMarks(t *testing.T) {
	for _, slots := range []int{1, 2, 63, 64, 65, 1023, 1024, 1025, 2048, 2049, 5000, 1_000_000} {
		for _, stale := range [][]int{{0}, {slots - 1}, pagesFrom(0, slots, 7), pagesFrom(slots/2, slots, 1)} {
			d := macho.CodeDirectory{PageSize: 4096, Slots: slots, Stale: stale}
			m := pageMaps(&macho.Slice{CodeDirectories: []macho.CodeDirectory{d}})[0]
			if m.Cells < 1 || m.Cells > maxCells || m.Width > mapCols*cellPitch {
				t.Fatalf("%d pages: %d cells, %d wide", slots, m.Cells, m.Width)
			}
			per := 1
			for per*maxCells < slots {
				per++
			}
			want := map[string]bool{}
			for _, p := range stale {
				cell := p / per
				want[fmt.Sprint(cell%64*14, cell/64*14)] = true
			}
			for _, b := range m.Bad {
				if !want[fmt.Sprint(b.X, b.Y)] || b.X+cellSize > m.Width || b.Y+cellSize > m.Height {
					t.Errorf("%d pages: a mark at %d, %d in %d×%d", slots, b.X, b.Y, m.Width, m.Height)
				}
				delete(want, fmt.Sprint(b.X, b.Y))
			}
			if len(want) > 0 {
				t.Errorf("%d pages: %d cells are not marked", slots, len(want))
			}
			tiles := 0
			for _, tile := range m.Tiles {
				tiles += tile.Width / cellPitch
			}
			if tiles != m.Cells {
				t.Errorf("%d pages: %d of %d cells are drawn", slots, tiles, m.Cells)
			}
		}
	}
}

func TestPageMapSegments(t *testing.T) {
	region := func(off, length int64, seg, sect string) macho.Region {
		return macho.Region{Range: macho.Range{Off: off, Len: length}, Segment: seg, Section: sect}
	}
	s := &macho.Slice{
		Regions: []macho.Region{
			region(0, 100, "A", ""), region(100, 8092, "A", "a"), region(8192, 4096, "B\x1b", "b\n"), region(16384, 10, "A", "z"),
		},
		CodeDirectories: []macho.CodeDirectory{{PageSize: 4096, Slots: 5, Stale: []int{0, 1, 2, 3, 4}}},
	}
	m := pageMaps(s)[0]
	var got []string
	for _, tile := range m.Tiles {
		got = append(got, fmt.Sprintf("%d %d %s %d", tile.X/cellPitch, tile.Width/cellPitch, tile.Title, tile.Tint))
	}
	if want := `0 2 A 0,2 1 "B\x1b" 1,3 1  6,4 1 A 0`; strings.Join(got, ",") != want {
		t.Errorf("tiles %s, want %s", strings.Join(got, ","), want)
	}
	if r := m.Runs[0]; r.Pages != "0-4" || r.From != 0 || r.To != 16393 || r.What != `A (header and load commands) · A,a · "B\x1b","b\n" · A,z` {
		t.Errorf("run %+v", r)
	}
	for off, want := range map[int64]string{12288: "nothing that a load command names", 20000: "nothing that a load command names"} {
		if got := whatLies(s.Regions, off, off+4096); got != want {
			t.Errorf("at %d lies %q, want %q", off, got, want)
		}
	}
	if got := whatLies([]macho.Region{region(50, 10, "A", ""), region(60, 10, "__LINKEDIT", "")}, 50, 55); got != "A (between sections)" {
		t.Errorf("between sections lies %q", got)
	}
}

// What there is much of is cut, and the page says so.
func TestPageMapIsBounded(t *testing.T) {
	var regions []macho.Region
	for i := range 20 {
		regions = append(regions, macho.Region{Range: macho.Range{Off: int64(i) * 10, Len: 10}, Segment: "S", Section: fmt.Sprint(i)})
	}
	if got := whatLies(regions, 0, 200); !strings.HasSuffix(got, "· S,7 and 12 more") {
		t.Errorf("regions %q", got)
	}
	m := pageMaps(&macho.Slice{CodeDirectories: []macho.CodeDirectory{{PageSize: 4096, Slots: 1000, Stale: pagesFrom(0, 1000, 2)}}})[0]
	if len(m.Runs) != maxBad || m.More != 500-maxBad {
		t.Errorf("%d runs and %d more", len(m.Runs), m.More)
	}
}

// One slot over everything has no pages to draw.
func TestPageMapOfOneSlot(t *testing.T) {
	s := &macho.Slice{
		Regions:         []macho.Region{{Range: macho.Range{Off: 0, Len: 5000}, Segment: "A"}},
		CodeDirectories: []macho.CodeDirectory{{Slots: 1, Stale: []int{0}, StaleSpecial: []int{1, 40}}},
	}
	m := pageMaps(s)[0]
	if m.Cells != 0 || len(m.Runs) != 1 || m.Runs[0].To != 4999 {
		t.Errorf("map %+v", m)
	}
	if got := strings.Join(m.Special, ", "); got != "−1: Info.plist, −40: unknown" {
		t.Errorf("special slots %s", got)
	}
}
