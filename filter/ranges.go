package filter

import "narseal/macho"

// ranges collects the ranges of an image that the rules changed, in ascending order. Its memory is bounded: beyond
// maxRanges it keeps whole blocks, so that a page next to a touched one may count as touched, too.
type ranges struct {
	list  []macho.Range
	block int64 // bytes
}

const (
	maxRanges  = 1 << 20
	firstBlock = 4096 // the smallest page in use
)

func (r *ranges) reset() { r.list, r.block = r.list[:0], 1 }

// add appends the n bytes at off, which lie after all others.
func (r *ranges) add(off, n int64) {
	r.put(off, off+n)
	for len(r.list) >= maxRanges {
		r.block = max(firstBlock, 2*r.block)
		fine := r.list
		r.list = r.list[:0]
		for _, x := range fine {
			r.put(x.Off, x.Off+x.Len)
		}
	}
}

// within returns the ranges, cut off at size.
func (r *ranges) within(size int64) []macho.Range {
	if n := len(r.list); n > 0 {
		last := &r.list[n-1]
		last.Len = min(last.Len, size-last.Off)
	}
	return r.list
}

func (r *ranges) put(off, end int64) {
	off -= off % r.block
	end += (r.block - end%r.block) % r.block
	if n := len(r.list); n > 0 {
		if last := &r.list[n-1]; off <= last.Off+last.Len {
			last.Len = max(last.Len, end-last.Off)
			return
		}
	}
	r.list = append(r.list, macho.Range{Off: off, Len: end - off})
}
