package macho

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// IsMachO reports whether a file that begins with prefix could be a Mach-O image, thin or fat. With fewer than four bytes it
// returns false. Eight bytes are enough except for a Java class, which looks like a fat image of 45 or more slices:
// IsMachO returns true until the prefix covers the table of that image. For today's classes 4096 bytes are enough.
func IsMachO(prefix []byte) bool {
	if len(prefix) < 4 {
		return false
	}
	magic := binary.BigEndian.Uint32(prefix)
	if magic != magicFat && magic != magicFat64 {
		_, _, ok := thinMagic(prefix)
		return ok
	}
	if len(prefix) < 8 {
		return true
	}
	n := binary.BigEndian.Uint32(prefix[4:])
	if !fatCountFits(magic, n) {
		return false
	}
	tableEnd := 8 + int(n)*int(fatRecordSize(magic))
	if magic == magicFat64 || n <= plainFatSlices || len(prefix) < tableEnd {
		return true
	}
	return kernelAccepts(fatTable(magic, prefix[8:tableEnd], math.MaxInt64), int64(tableEnd))
}

// thinMagic returns the byte order and the word size that the magic of a thin image implies.
func thinMagic(b []byte) (order binary.ByteOrder, is64, ok bool) {
	switch binary.BigEndian.Uint32(b) {
	case magic32:
		return binary.BigEndian, false, true
	case magic64:
		return binary.BigEndian, true, true
	}
	switch binary.LittleEndian.Uint32(b) {
	case magic32:
		return binary.LittleEndian, false, true
	case magic64:
		return binary.LittleEndian, true, true
	}
	return nil, false, false
}

func fatCountFits(magic, n uint32) bool {
	return 1 <= n && n <= (maxFatTable-8)/fatRecordSize(magic)
}

func fatRecordSize(magic uint32) uint32 {
	if magic == magicFat {
		return 20
	}
	return 32
}

// slice is one architecture of an image, as the container describes it.
type slice struct {
	arch      string
	off, size int64     // in the image; off+size is not past its end
	cpu       [2]uint32 // cputype and cpusubtype in the table of a fat image
	fat64     bool      // in a fat image with 64-bit offsets
	inTable   bool      // in a fat image
	archive   bool      // begins with the magic of a static library
	header    [2]uint32 // cputype and cpusubtype of the Mach-O header
	fault     string    // why the container is malformed
	thin      bool      // begins with the magic of a thin image
	commands  commands
}

// end returns the offset of the first byte after the slice.
func (s *slice) end() int64 { return s.off + s.size }

// parseContainer returns the slices of an image in the order of its fat table, without reading their contents. It
// returns none if src is not a Mach-O image.
//
// A slice that shares bytes with another one or with the table gets a fault: the kernel refuses the file
// (fatfile_validate_fatarches in bsd/kern/mach_fat.c of xnu), and other readers disagree on which slice to use. Such a
// slice is cut where the next one begins. All slices together are therefore never longer than the image, and no byte is
// parsed for two of them.
func parseContainer(src source) ([]*slice, error) {
	if src.size() < 8 {
		return nil, nil
	}
	head, err := src.at(0, 8)
	if err != nil {
		return nil, err
	}
	if _, _, ok := thinMagic(head); ok {
		return []*slice{{size: src.size()}}, nil
	}
	magic, n := binary.BigEndian.Uint32(head), binary.BigEndian.Uint32(head[4:])
	if magic != magicFat && magic != magicFat64 || !fatCountFits(magic, n) {
		return nil, nil
	}
	tableEnd := 8 + int64(n)*int64(fatRecordSize(magic))
	if tableEnd > src.size() {
		return cutTable(src, magic, n)
	}
	table, err := src.at(8, int(tableEnd-8))
	if err != nil {
		return nil, err
	}
	all := fatTable(magic, table, src.size())
	if magic == magicFat && n > plainFatSlices && !kernelAccepts(all, tableEnd) {
		return nil, nil
	}
	cutOverlaps(byOffset(all), tableEnd)
	return all, nil
}

// cutTable is parseContainer for a file that ends within its fat table. It returns the slices of the records that are there
// if all of them begin past the end: the file is the start of a fat image, if isCut agrees.
func cutTable(src source, magic, n uint32) ([]*slice, error) {
	size := int64(fatRecordSize(magic))
	length := (src.size() - 8) / size * size
	if n > plainFatSlices || length == 0 {
		return nil, nil
	}
	table, err := src.at(8, int(length))
	if err != nil {
		return nil, err
	}
	all := fatTable(magic, table, src.size())
	if slices.ContainsFunc(all, func(s *slice) bool { return s.off < src.size() }) {
		return nil, nil
	}
	return all, nil
}

// kernelAccepts reports whether the kernel accepts a fat table: every slice lies between the table and the end of the
// file, no two share bytes, and no two have the same cputype and cpusubtype (fatfile_validate_fatarches in
// bsd/kern/mach_fat.c of xnu).
func kernelAccepts(all []*slice, tableEnd int64) bool {
	reach := tableEnd
	for _, s := range byOffset(all) {
		if s.fault != "" || s.off < reach {
			return false
		}
		reach = s.end()
	}
	return sameArchitecture(all) == nil
}

// sameArchitecture returns a slice with the cputype and cpusubtype of an earlier one, or nil.
func sameArchitecture(all []*slice) *slice {
	seen := map[[2]uint32]bool{}
	for _, s := range all {
		if seen[s.cpu] {
			return s
		}
		seen[s.cpu] = true
	}
	return nil
}

func byOffset(all []*slice) []*slice {
	order := slices.Clone(all)
	slices.SortStableFunc(order, func(a, b *slice) int { return cmp.Compare(a.off, b.off) })
	return order
}

// fatTable decodes the records of a fat header. Slices are cut at the end of the file.
func fatTable(magic uint32, table []byte, size int64) []*slice {
	var all []*slice
	be := binary.BigEndian
	for r := table; len(r) > 0; r = r[fatRecordSize(magic):] {
		off, length := uint64(be.Uint32(r[8:])), uint64(be.Uint32(r[12:]))
		if magic == magicFat64 {
			off, length = be.Uint64(r[8:]), be.Uint64(r[16:])
		}
		s := &slice{arch: archName(be.Uint32(r), be.Uint32(r[4:])), cpu: [2]uint32{be.Uint32(r), be.Uint32(r[4:])}, fat64: magic == magicFat64, inTable: true}
		s.off = int64(min(off, math.MaxInt64))
		switch {
		case off > uint64(size):
			s.fault = fmt.Sprintf("slice begins at %d, past the end of the file at %d", off, size)
		case length > uint64(size)-off:
			s.fault = fmt.Sprintf("slice at %d has %d bytes, but the file ends at %d", off, length, size)
			s.size = size - s.off
		default:
			s.size = int64(length)
		}
		all = append(all, s)
	}
	return all
}

// cutOverlaps sets the fault of every slice that shares bytes with another one or with the fat header, and cuts it where
// the next one begins. order is sorted by offset.
func cutOverlaps(order []*slice, tableEnd int64) {
	order = slices.DeleteFunc(order, func(s *slice) bool { return s.size == 0 })
	reach := int64(0) // the furthest end of the slices before this one
	for i, s := range order {
		end := s.end()
		if s.off < tableEnd {
			s.fault = fmt.Sprintf("slice at %d overlaps the fat header, which ends at %d", s.off, tableEnd)
		}
		if s.off < reach {
			s.fault = fmt.Sprintf("slice at %d overlaps the one before it, which ends at %d", s.off, reach)
		}
		if i+1 < len(order) && end > order[i+1].off {
			s.fault = fmt.Sprintf("slice at %d overlaps the one at %d", s.off, order[i+1].off)
			s.size = order[i+1].off - s.off
		}
		reach = max(reach, end)
	}
}
