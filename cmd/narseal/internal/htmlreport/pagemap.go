package htmlreport

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/macho"
)

// pageMap is a drawing of the pages that a CodeDirectory hashes: a grid in which each cell stands for one or more
// pages, is tinted by segment, and is marked if a page in it is bad.
type pageMap struct {
	Title, Legend, Label string
	Cells                int
	Width, Height        int  // of the grid
	Full                 bool // the grid is drawn over the full width
	Tiles                []tile
	Bad                  []tile
	Segments             []segmentTint
	Runs                 []badRun
	More                 int // number of runs that are not listed
	Special              []string
}

// tile is a cell, or several adjacent cells of the same segment.
type tile struct {
	X, Y, Width int
	Tint        int
	Title       string
}

type segmentTint struct {
	Tint int
	Name string
}

// badRun is a run of consecutive bad pages. From and To are the offsets of its first and last byte, from the start of
// the slice.
type badRun struct {
	Pages    string
	From, To int64
	What     string
	Paths    []string // store paths on these pages
	More     int      // number of store paths that are not listed
}

const (
	cellSize  = 12
	cellPitch = 14
	mapCols   = 64
	maxCells  = 1024
	maxBad    = 100 // maximum number of runs that are listed
	maxWhat   = 8   // maximum number of regions, or of store paths, that are named for a run
	tints     = 7   // the last one is for pages outside of all segments
)

// pageMaps draws the CodeDirectories of a slice that have bad slots. CodeDirectories with the same bad slots, as with
// two hash types, share one drawing.
func pageMaps(s *macho.Slice) []*pageMap {
	var maps []*pageMap
	same := func(a, b macho.CodeDirectory) bool {
		return a.PageSize == b.PageSize && a.Slots == b.Slots && slices.Equal(a.Stale, b.Stale) && slices.Equal(a.StaleSpecial, b.StaleSpecial)
	}
	for i, d := range s.CodeDirectories {
		if len(d.Stale)+len(d.StaleSpecial) == 0 || slices.ContainsFunc(s.CodeDirectories[:i], func(o macho.CodeDirectory) bool { return same(o, d) }) {
			continue
		}
		var names []string
		for _, o := range s.CodeDirectories[i:] {
			if same(d, o) {
				names = append(names, fmt.Sprintf("%#x (%s)", o.Slot, o.HashType))
			}
		}
		m := &pageMap{Title: "CodeDirectory " + strings.Join(names, " and ")}
		if len(d.Stale) > 0 {
			m.draw(s.Regions, &d)
			m.list(s.Regions, s.Notes, &d)
		}
		for _, k := range d.StaleSpecial {
			m.Special = append(m.Special, specialName(k))
		}
		maps = append(maps, m)
	}
	return maps
}

func (m *pageMap) draw(regions []macho.Region, d *macho.CodeDirectory) {
	m.Label = fmt.Sprintf("%d of %s, bad: %s", len(d.Stale), report.Plural(int64(d.Slots), "page", "pages"), report.Runs(d.Stale))
	if d.PageSize == 0 {
		return // one slot over everything
	}
	per := (d.Slots + maxCells - 1) / maxCells
	m.Cells = (d.Slots + per - 1) / per
	m.Legend = fmt.Sprintf("%d of %s of %s do not match.", len(d.Stale), report.Plural(int64(d.Slots), "page", "pages"), humanize.IBytes(uint64(d.PageSize)))
	if len(d.Stale) == 1 {
		m.Legend = strings.Replace(m.Legend, "do not", "does not", 1)
	}
	if per > 1 {
		m.Legend += fmt.Sprintf(" A square is %d pages.", per)
	}
	m.Width = min(m.Cells, mapCols)*cellPitch - (cellPitch - cellSize)
	m.Full = m.Cells >= mapCols
	m.Height = (m.Cells+mapCols-1)/mapCols*cellPitch - (cellPitch - cellSize)
	name := func(cell int) string { // of the pages in it
		if from, to := cell*per, min((cell+1)*per, d.Slots)-1; from < to {
			return fmt.Sprintf("pages %d-%d", from, to)
		}
		return fmt.Sprintf("page %d", cell)
	}

	at := 0 // the first region that may reach the cell
	for cell := range m.Cells {
		off := int64(cell) * int64(per) * d.PageSize
		for at < len(regions) && regions[at].Off+regions[at].Len <= off {
			at++
		}
		segment := ""
		if at < len(regions) && regions[at].Off <= off {
			segment = terminal.Printable(regions[at].Segment)
		}
		x, y := cell%mapCols*cellPitch, cell/mapCols*cellPitch
		tint := m.tint(segment)
		if n := len(m.Tiles); n > 0 && m.Tiles[n-1].Y == y && m.Tiles[n-1].Title == segment {
			m.Tiles[n-1].Width += cellPitch
		} else {
			m.Tiles = append(m.Tiles, tile{X: x, Y: y, Width: cellPitch, Tint: tint, Title: segment})
		}
	}
	last := -1
	for _, page := range d.Stale {
		if cell := page / per; cell != last {
			m.Bad = append(m.Bad, tile{X: cell % mapCols * cellPitch, Y: cell / mapCols * cellPitch, Title: name(cell)})
			last = cell
		}
	}
}

// tint returns the tint of a segment. If there are more segments than tints, tints are reused.
func (m *pageMap) tint(segment string) int {
	if segment == "" {
		return tints - 1
	}
	for _, s := range m.Segments {
		if s.Name == segment {
			return s.Tint
		}
	}
	t := len(m.Segments) % (tints - 1)
	m.Segments = append(m.Segments, segmentTint{t, segment})
	return t
}

// list describes each run of bad pages: where it is, and which regions it covers.
func (m *pageMap) list(regions []macho.Region, notes []macho.Note, d *macho.CodeDirectory) {
	end := int64(0) // of the known regions of the slice
	for _, r := range regions {
		end = max(end, r.Off+r.Len)
	}
	for i := 0; i < len(d.Stale); {
		j := i + 1
		for j < len(d.Stale) && d.Stale[j] == d.Stale[j-1]+1 {
			j++
		}
		if len(m.Runs) == maxBad {
			m.More++
			i = j
			continue
		}
		r := badRun{Pages: report.Runs(d.Stale[i:j])}
		if d.PageSize > 0 {
			r.From, r.To = int64(d.Stale[i])*d.PageSize, int64(d.Stale[j-1]+1)*d.PageSize
		} else {
			r.To = max(end, 1)
		}
		if r.From < end {
			r.To = min(r.To, end)
		}
		r.What = whatLies(regions, r.From, r.To)
		for _, n := range notes {
			switch text := terminal.Printable(n.Text); {
			case n.Off < r.From || n.Off >= r.To || slices.Contains(r.Paths, text):
			case len(r.Paths) == maxWhat:
				r.More++
			default:
				r.Paths = append(r.Paths, text)
			}
		}
		r.To--
		m.Runs = append(m.Runs, r)
		i = j
	}
}

// whatLies names the regions that overlap [from, to).
func whatLies(regions []macho.Region, from, to int64) string {
	var names []string
	var padding string // named only if no other region is
	more := 0
	for _, r := range regions {
		if r.Off >= to || r.Off+r.Len <= from {
			continue
		}
		name := terminal.Printable(r.Segment)
		switch {
		case r.Section != "":
			name += "," + terminal.Printable(r.Section)
		case r.Off == 0:
			name += " (header and load commands)"
		case r.Segment != "__LINKEDIT":
			padding = name + " (between sections)"
			continue
		}
		if slices.Contains(names, name) {
			continue
		}
		if len(names) == maxWhat {
			more++
			continue
		}
		names = append(names, name)
	}
	if names == nil {
		return cmp.Or(padding, "nothing that a load command names")
	}
	s := strings.Join(names, " · ")
	if more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}

func specialName(k int) string {
	return fmt.Sprintf("−%d: %s", k, macho.SpecialSlot{K: k}.Name())
}
