package macho

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
)

// selection is the part of a CodeDirectory that is hashed.
type selection struct {
	dir     *directory
	runs    []extent // pages in rising order
	special []int    // k of each special slot -k whose content is in the slice

	// Slots that do not match, in rising order once hashing is done.
	stale        []int
	staleSpecial []int
}

// normalize checks and sorts touched ranges, and joins those that overlap or meet.
func normalize(touched []Range, size int64) ([]Range, error) {
	sorted := make([]Range, 0, len(touched))
	for _, r := range touched {
		if r.Off < 0 || r.Len < 0 || r.Len > size || r.Off > size-r.Len {
			return nil, fmt.Errorf("macho: touched range of %d bytes at %d lies outside the image of %d bytes", r.Len, r.Off, size)
		}
		if r.Len > 0 {
			sorted = append(sorted, r)
		}
	}
	slices.SortFunc(sorted, func(a, b Range) int { return cmp.Compare(a.Off, b.Off) })
	joined := sorted[:0]
	for _, r := range sorted {
		if n := len(joined); n > 0 && r.Off <= joined[n-1].end() {
			joined[n-1].Len = max(joined[n-1].end(), r.end()) - joined[n-1].Off
			continue
		}
		joined = append(joined, r)
	}
	return joined, nil
}

// within returns the touched ranges that share a byte with [from, to). ranges come from normalize.
func within(ranges []Range, from, to int64) []Range {
	i := sort.Search(len(ranges), func(i int) bool { return ranges[i].end() > from })
	j := i + sort.Search(len(ranges)-i, func(j int) bool { return ranges[i+j].Off >= to })
	return ranges[i:j]
}

// selectAll selects every slot of d.
func (s *slice) selectAll(g *signature, d *directory) *selection {
	sel := &selection{dir: d, runs: d.extents()}
	for _, stored := range d.stored {
		if _, ok := s.specialContent(g, d, stored.K); ok {
			sel.special = append(sel.special, stored.K)
		}
	}
	return sel
}

// selectTouched selects the slots of d that share a byte with a range, or whose content does. ranges come from normalize,
// and count from the start of the slice.
func (s *slice) selectTouched(g *signature, d *directory, ranges []Range) *selection {
	sel := &selection{dir: d}
	var pages []Range // Off is a page, Len a number of pages
	add := func(from, to int64) {
		if n := len(pages); n > 0 && pages[n-1].Off <= from && from <= pages[n-1].end() {
			pages[n-1].Len = max(pages[n-1].end(), to) - pages[n-1].Off
			return
		}
		pages = append(pages, Range{from, to - from})
	}
	p := d.pageSize()
	for _, r := range within(ranges, 0, d.limit) {
		add(r.Off/p, (min(r.end(), d.limit)-1)/p+1)
	}
	for _, array := range d.arrays() {
		from, to := d.off+array, d.off+array+d.code*d.hashSize
		for _, r := range within(ranges, from, to) {
			first := max(r.Off-from, 0) / d.hashSize
			last := (min(r.end(), to) - 1 - from) / d.hashSize
			extents := d.extents()
			i := sort.Search(len(extents), func(i int) bool { return extents[i].slot+extents[i].count > first })
			for ; i < len(extents) && extents[i].slot <= last; i++ {
				e := extents[i]
				lo, hi := max(first, e.slot), min(last+1, e.slot+e.count)
				add(e.page+lo-e.slot, e.page+hi-e.slot)
			}
		}
	}
	sel.runs = intersect(d.extents(), pages)

	for _, stored := range d.stored {
		content, ok := s.specialContent(g, d, stored.K)
		at := d.specialAt(stored.K)
		if ok && (len(within(ranges, content.Off, content.end())) > 0 || len(within(ranges, at, at+d.hashSize)) > 0) {
			sel.special = append(sel.special, stored.K)
		}
	}
	return sel
}

// arrays returns the offsets of the arrays of code slots.
func (d *directory) arrays() []int64 {
	if d.preEncrypt != 0 {
		return []int64{d.hashOffset, d.preEncrypt}
	}
	return []int64{d.hashOffset}
}

// intersect returns the parts of the extents that are in pages, which need not be sorted.
func intersect(extents []extent, pages []Range) []extent {
	slices.SortFunc(pages, func(a, b Range) int { return cmp.Compare(a.Off, b.Off) })
	var runs []extent
	next := int64(0) // the first page that is not in runs
	for _, r := range pages {
		from := max(r.Off, next)
		i := sort.Search(len(extents), func(i int) bool { return extents[i].page+extents[i].count > from })
		for ; i < len(extents) && extents[i].page < r.end(); i++ {
			e := extents[i]
			lo, hi := max(from, e.page), min(r.end(), e.page+e.count)
			if lo < hi {
				runs = append(runs, extent{page: lo, slot: e.slot + lo - e.page, count: hi - lo})
			}
		}
		next = max(next, r.end())
	}
	return runs
}
