package macho

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
)

// A Region is a part of a slice that its load commands name. Off counts from the start of the slice.
type Region struct {
	Range
	Segment string // such as __TEXT
	// Section is empty for parts of a segment that lie in none of its sections: the header and the load commands,
	// padding, and all of __LINKEDIT.
	Section string
}

// maxRegions bounds the regions of a slice. Images have a few dozen.
const maxRegions = 4096

// Constants from xnu EXTERNAL_HEADERS/mach-o/loader.h.
const (
	sectionType          = 0xff // SECTION_TYPE, a mask of the flags
	typeZerofill         = 0x1  // S_ZEROFILL
	typeGBZerofill       = 0xc  // S_GB_ZEROFILL
	typeThreadLocalZeros = 0x12 // S_THREAD_LOCAL_ZEROFILL
)

// Locate sets the Regions of each slice whose status is not OK. r must be the report of image. Locate does not write to
// image. Bytes that load commands name twice, as in a hostile image, are in two regions. Regions are cut at the end of
// the slice.
func (r *Report) Locate(image Image) error {
	if r.OK() {
		return nil
	}
	headers, segments := newWindow(image), newWindow(image)
	all, err := parseContainer(headers)
	if err != nil {
		return err
	}
	for i, s := range all {
		if i >= len(r.Slices) || r.Slices[i].Status.OK() {
			continue
		}
		if err := s.readHeader(headers, false); err != nil {
			return err
		}
		if !s.thin {
			continue
		}
		if r.Slices[i].Regions, err = s.regions(segments); err != nil {
			return err
		}
	}
	return nil
}

// regions reads the segment commands, up to the first malformed one, and returns the regions that they name, sorted by
// offset.
func (s *slice) regions(src source) ([]Region, error) {
	head, err := s.at(src, 0, 28)
	if errors.Is(err, errOutside) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	order, is64, _ := thinMagic(head)
	ncmds := order.Uint32(head[16:])
	pos := int64(28)
	if is64 {
		pos = 32
	}
	var all []Region
	for i := uint32(0); i < ncmds && len(all) < maxRegions; i++ {
		b, err := s.command(src, pos, 8)
		var cmd, size uint32
		if err == nil {
			if cmd, size = order.Uint32(b), order.Uint32(b[4:]); size < 8 || int64(size) > s.commands.end-pos {
				break
			}
			if cmd == lcSegment || cmd == lcSegment64 {
				all, err = s.segment(src, order, cmd == lcSegment64, pos, int64(size), all)
			}
		}
		if errors.Is(err, errOutside) {
			break
		}
		if err != nil {
			return nil, err
		}
		pos += int64(size)
	}
	slices.SortStableFunc(all, func(a, b Region) int { return cmp.Compare(a.Off, b.Off) })
	return all, nil
}

// segment appends the sections of the segment command at pos, and the parts of the segment between them.
func (s *slice) segment(src source, order binary.ByteOrder, is64 bool, pos, size int64, all []Region) ([]Region, error) {
	header, record := segmentSizes(is64)
	if header > size {
		return all, nil
	}
	b, err := s.command(src, pos, int(header))
	if err != nil {
		return all, err
	}
	name := fieldString(b[8:24])
	var rest Range
	if is64 {
		rest = s.clip(order.Uint64(b[40:]), order.Uint64(b[48:]))
	} else {
		rest = s.clip(uint64(order.Uint32(b[32:])), uint64(order.Uint32(b[36:])))
	}
	n := min(int64(order.Uint32(b[header-8:])), (size-header)/record)
	var sections []Region
	for i := int64(0); i < n && len(all)+len(sections) < maxRegions; i++ {
		b, err := s.command(src, pos+header+i*record, int(record))
		if err != nil {
			return all, err
		}
		var at Range
		flags := order.Uint32(b[56:])
		if is64 {
			at = s.clip(uint64(order.Uint32(b[48:])), order.Uint64(b[40:]))
			flags = order.Uint32(b[64:])
		} else {
			at = s.clip(uint64(order.Uint32(b[40:])), uint64(order.Uint32(b[36:])))
		}
		switch flags & sectionType {
		case typeZerofill, typeGBZerofill, typeThreadLocalZeros:
			continue // only in memory
		}
		if at.Len > 0 {
			sections = append(sections, Region{at, fieldString(b[16:32]), fieldString(b[:16])})
		}
	}
	slices.SortStableFunc(sections, func(a, b Region) int { return cmp.Compare(a.Off, b.Off) })
	end := rest.Off + rest.Len
	for _, x := range sections {
		if x.Off > rest.Off && x.Off <= end {
			all = append(all, Region{Range{rest.Off, x.Off - rest.Off}, name, ""})
		}
		all = append(all, x)
		rest.Off = max(rest.Off, min(x.Off+x.Len, end))
	}
	if rest.Off < end {
		all = append(all, Region{Range{rest.Off, end - rest.Off}, name, ""})
	}
	return all, nil
}

// clip returns the part of a range that lies in the slice.
func (s *slice) clip(off, length uint64) Range {
	size := uint64(s.size)
	off = min(off, size)
	return Range{int64(off), int64(min(length, size-off))}
}
