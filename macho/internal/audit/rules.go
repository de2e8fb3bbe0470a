package audit

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// Image is the image that Rules reads.
type Image interface {
	io.ReaderAt
	Size() int64
}

// Rules applies the kernel's rules to the slices of an image at these offsets, whose signatures are well-formed. It returns
// the name of a rule that is broken, or "". The rules are those of package macho's rules.go.
func Rules(image Image, offsets []int64) (string, error) {
	var signer string
	for i, off := range offsets {
		s := sliceAuditor{auditor: auditor{image: image, slice: off}, imageSize: image.Size()}
		if err := s.readCommands(); err != nil {
			return "", err
		}
		broken, err := s.check()
		if err != nil || broken != "" {
			return broken, err
		}
		if i > 0 && s.signer != signer {
			return "same-signer", nil
		}
		signer = s.signer
	}
	return auditTable(image, offsets)
}

// auditTable applies the rules about the table of a fat image.
func auditTable(image Image, offsets []int64) (string, error) {
	a := auditor{image: image}
	head := make([]byte, 8)
	if err := a.read(head, 0); err != nil {
		return "", err
	}
	be, record := binary.BigEndian, 20
	switch be.Uint32(head) {
	case 0xcafebabe:
	case 0xcafebabf:
		record = 32
	default:
		return "", nil // thin
	}
	table := make([]byte, min(int64(be.Uint32(head[4:]))*int64(record), image.Size()-8))
	if err := a.read(table, 8); err != nil {
		return "", err
	}
	full, seen := table, map[string]bool{}
	for ; len(table) > 0; table = table[record:] {
		if seen[string(table[:8])] {
			return "same-architecture", nil
		}
		seen[string(table[:8])] = true
	}
	for _, off := range offsets {
		broken, err := auditRecord(image, full, record, off)
		if err != nil || broken {
			return "table-architecture", err
		}
	}
	if record == 32 {
		for _, off := range offsets {
			s := sliceAuditor{auditor: auditor{image: image, slice: off}, imageSize: image.Size()}
			if err := s.readCommands(); err != nil {
				return "", err
			}
			if s.fileType == 2 {
				return "fat64-program", nil
			}
		}
	}
	return "", nil
}

// auditRecord reports whether the slice at off is a program of another architecture than its record in the table says.
func auditRecord(image Image, table []byte, record int, off int64) (broken bool, err error) {
	be := binary.BigEndian
	for ; len(table) >= record; table = table[record:] {
		at := int64(be.Uint32(table[8:]))
		if record == 32 {
			at = int64(be.Uint64(table[8:]))
		}
		if at != off {
			continue
		}
		head := make([]byte, 16)
		if err := (&auditor{image: image}).read(head, off); err != nil {
			return false, err
		}
		var order binary.ByteOrder = binary.LittleEndian
		if head[0] == 0xfe {
			order = be
		}
		if order.Uint32(head[12:]) != 2 {
			return false, nil
		}
		return order.Uint32(head[4:]) != be.Uint32(table) || order.Uint32(head[8:]) != be.Uint32(table[4:]), nil
	}
	return false, nil
}

// sliceAuditor applies the rules about one slice.
type sliceAuditor struct {
	auditor
	imageSize     int64
	cpu, fileType uint32
	end           int64    // of the load commands
	sigSize       int64    // of the signature at sig
	text          []uint64 // first and last byte of each executable segment, one after the other
	past          uint64   // the end of the segment that ends last
	signer        string
}

// readCommands reads the header and the load commands.
func (s *sliceAuditor) readCommands() error {
	head := make([]byte, 28)
	if err := s.read(head, s.slice); err != nil {
		return err
	}
	var order binary.ByteOrder = binary.LittleEndian
	if head[0] == 0xfe {
		order = binary.BigEndian
	}
	pos := s.slice + 28 + int64(order.Uint32(head)&1*4) // 64-bit magics are odd
	s.cpu, s.fileType = order.Uint32(head[4:]), order.Uint32(head[12:])
	commands := make([]byte, min(int64(order.Uint32(head[20:])), s.imageSize-pos))
	s.end = pos + int64(len(commands)) - s.slice
	if err := s.read(commands, pos); err != nil {
		return err
	}
	for n := order.Uint32(head[16:]); n > 0 && len(commands) >= 8; n-- {
		cmd, size := order.Uint32(commands), order.Uint32(commands[4:])
		if size < 8 || int(size) > len(commands) {
			return fmt.Errorf("macho: check of the repair: a load command of %d bytes", size)
		}
		c := commands[:size]
		commands = commands[size:]
		switch {
		case cmd == 0x1d && size >= 16:
			s.sig, s.sigSize = s.slice+int64(order.Uint32(c[8:])), int64(order.Uint32(c[12:]))
		case cmd == 0x1 && size >= 56:
			s.addSegment(uint64(order.Uint32(c[32:])), uint64(order.Uint32(c[36:])), order.Uint32(c[44:]))
		case cmd == 0x19 && size >= 72:
			s.addSegment(order.Uint64(c[40:]), order.Uint64(c[48:]), order.Uint32(c[60:]))
		}
	}
	return nil
}

func (s *sliceAuditor) addSegment(off, length uint64, initprot uint32) {
	if end := off + length; end < off {
		s.past = 1<<64 - 1
	} else {
		s.past = max(s.past, end)
	}
	if length > 0 && initprot&4 != 0 {
		s.text = append(s.text, off, max(off, off+length-1))
	}
}

// check returns the name of a rule that the slice breaks, or "", and sets signer.
func (s *sliceAuditor) check() (string, error) {
	if err := s.readIndex(s.sigSize); err != nil {
		return "", err
	}
	best, bestSlot := 0, uint32(0)
	for _, slot := range s.directorySlots() {
		if err := s.open(slot); err != nil {
			return "", err
		}
		intel := s.cpu&^0x01000000 == 7 || s.cpu&^0x01000000 == 18
		rank := bytes.IndexByte([]byte{0, 1, 3, 2, 4}, s.head[37])
		switch {
		case s.head[39] != 12 && (intel || s.head[39] != 14):
			return "page-size", nil
		case rank <= 0:
			return "hash-type", nil
		case rank == best:
			return "same-hash-type", nil
		case s.u32(32) == 0 || s.codeLimit() != s.u32(32):
			return "code-limit", nil
		case rank > best:
			best, bestSlot = rank, slot
		}
	}
	if best == 0 {
		return "directory-slot", nil
	}
	if err := s.open(bestSlot); err != nil {
		return "", err
	}
	if err := s.readSigner(); err != nil {
		return "", err
	}
	if s.fileType != 2 && (s.fileType < 6 || s.fileType > 8) {
		return "", nil
	}
	if covered, err := s.covered(); err != nil || !covered {
		return "executable-pages", err
	}
	if misread, err := s.misread(); err != nil || misread {
		return "executable-pages", err
	}
	if s.cpu == 0x0100000c && s.slice%16384 != 0 || s.slice%4096 != 0 {
		return "slice-alignment", nil
	}
	if s.fileType == 2 || s.fileType == 7 {
		if size, err := s.size(); err != nil || s.past > size {
			return "segment-in-slice", err
		}
	}
	return "", nil
}

// size returns the size of the slice.
func (s *sliceAuditor) size() (uint64, error) {
	head := make([]byte, 8)
	if err := s.read(head, 0); err != nil {
		return 0, err
	}
	be, record := binary.BigEndian, make([]byte, 20)
	switch be.Uint32(head) {
	case 0xcafebabe:
	case 0xcafebabf:
		record = make([]byte, 32)
	default:
		return uint64(s.imageSize), nil // thin
	}
	for at := int64(8); ; at += int64(len(record)) {
		if err := s.read(record, at); err != nil {
			return 0, err
		}
		off, n := uint64(be.Uint32(record[8:])), uint64(be.Uint32(record[12:]))
		if len(record) == 32 {
			off, n = be.Uint64(record[8:]), be.Uint64(record[16:])
		}
		if off == uint64(s.slice) && n > 0 {
			return n, nil
		}
	}
}

// directorySlots returns the slots that the kernel reads a CodeDirectory from.
func (s *sliceAuditor) directorySlots() []uint32 {
	if s.index == nil {
		return []uint32{0}
	}
	var slots []uint32
	for r := s.index; len(r) > 0; r = r[8:] {
		if slot := binary.BigEndian.Uint32(r); slot == 0 || slot&^7 == 0x1000 && slot < 0x1005 {
			slots = append(slots, slot)
		}
	}
	return slots
}

// covered reports whether the pages of the load commands and of executable segments have a slot, and whether executable
// segments lie wholly below the code limit.
func (s *sliceAuditor) covered() (bool, error) {
	shift := s.head[39]
	type span struct{ first, last int64 } // pages
	spans := []span{{0, (s.end - 1) >> shift}}
	if (s.end-1)>>shift > (s.codeLimit()-1)>>shift {
		return false, nil
	}
	for text := s.text; len(text) > 0; text = text[2:] {
		x := span{int64(text[0] >> shift), int64(text[1] >> shift)}
		if x.last >= s.codeLimit()>>shift {
			return false, nil
		}
		spans = append(spans, x)
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	scatter := s.u32(44)
	if s.u32(8) < 0x20100 || scatter == 0 {
		return true, nil // every page below the code limit has a slot
	}
	next, record := int64(0), make([]byte, 24) // the pages before next have a slot, or need none
	for _, x := range spans {
		for next = max(next, x.first); next <= x.last; scatter += 24 {
			if err := s.read(record, s.cd+scatter); err != nil {
				return false, err
			}
			count, base := int64(binary.BigEndian.Uint32(record)), int64(binary.BigEndian.Uint32(record[4:]))
			if count == 0 || base > next {
				return false, nil
			}
			next = max(next, base+count)
		}
	}
	return true, nil
}

// misread reports whether a page that no scatter record has follows the pages of one, and bytes of the signature follow the
// slots of that record: the kernel compares the page with them.
func (s *sliceAuditor) misread() (bool, error) {
	at := s.u32(44)
	if s.u32(8) < 0x20100 || at == 0 {
		return false, nil
	}
	record := make([]byte, 24)
	slots, next := int64(0), int64(-1)
	for ; ; at += 24 {
		if err := s.read(record, s.cd+at); err != nil {
			return false, err
		}
		count, base := int64(binary.BigEndian.Uint32(record)), int64(binary.BigEndian.Uint32(record[4:]))
		switch {
		case count == 0 && next < 0:
			return false, nil
		case count == 0:
			past := s.cd + s.u32(16) + (slots+1)*int64(s.head[36])
			return next<<s.head[39] < s.codeLimit() && past <= s.sig+s.sigSize, nil
		case next >= 0 && base != next:
			return true, nil
		}
		slots, next = slots+count, base+count
	}
}

// readSigner sets signer to the signer that the kernel sees: whether there is a certificate, and the platform or team.
func (s *sliceAuditor) readSigner() error {
	if at, err := s.find(0x10000); err == nil && s.index != nil {
		head := make([]byte, 8)
		if err := s.read(head, at); err != nil {
			return err
		}
		if binary.BigEndian.Uint32(head[4:]) > 8 {
			s.signer = "certificate"
		}
	}
	team := s.u32(48)
	switch {
	case s.head[38] != 0:
		s.signer += " platform"
	case s.u32(8) >= 0x20200 && team != 0:
		rest := make([]byte, s.u32(4)-team)
		if err := s.read(rest, s.cd+team); err != nil {
			return err
		}
		name, _, _ := bytes.Cut(rest, []byte{0})
		s.signer += " team " + string(name)
	}
	return nil
}
