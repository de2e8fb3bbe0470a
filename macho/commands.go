package macho

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// commands holds what the load commands of a slice say about its signature. Offsets count from the start of the slice.
type commands struct {
	end        int64  // first byte after the load commands
	signatures int    // number of LC_CODE_SIGNATURE commands
	cmdSize    uint32 // of the first one
	sigOff     int64  // dataoff of the first one
	sigSize    int64  // datasize of the first one
	infoPlist  Range  // the section __TEXT,__info_plist; Len 0: none
	uuid       Range  // the UUID in the first LC_UUID; Len 0: none
	encrypted  bool   // has an LC_ENCRYPTION_INFO with a cryptid
	fileType   uint32
	executable []Range   // segments that are mapped executable, by the order of their commands
	segments   *segments // nil if only the signature is looked for
	macOS      bool      // a command says that the code is for macOS
	elsewhere  bool      // a command says that the code is for another platform
	fault      string    // the first malformed field; reading may have stopped there
}

// readHeader reads the Mach-O header and the load commands of a slice, if it is a thin image. With quick it stops at the
// first LC_CODE_SIGNATURE. Malformed commands set a fault; an error means that src cannot be read.
func (s *slice) readHeader(src source, quick bool) error {
	err := s.parseHeader(src, quick)
	if errors.Is(err, errBudget) {
		// The rest may name a signature, so the slice counts as signed.
		s.fault = fmt.Sprintf("parsing the load commands takes more than %d bytes", budget(src.size()))
		s.thin, s.commands.fault = true, s.fault
		return nil
	}
	return err
}

func (s *slice) parseHeader(src source, quick bool) error {
	c := &s.commands
	head, err := src.at(s.off, 4) // even if the slice was cut
	if errors.Is(err, errOutside) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, _, s.thin = thinMagic(head); !s.thin {
		s.archive = string(head) == "!<ar"
		return nil
	}
	head, err = s.at(src, 0, shortHeader)
	if errors.Is(err, errOutside) {
		c.fault, c.end = "the file ends within the Mach-O header", shortHeader
		s.markShort()
		return nil
	}
	if err != nil {
		return err
	}
	order, is64, _ := thinMagic(head)
	s.arch = archName(order.Uint32(head[4:]), order.Uint32(head[8:]))
	s.header = [2]uint32{order.Uint32(head[4:]), order.Uint32(head[8:])}
	c.fileType = order.Uint32(head[12:])
	ncmds, sizeofcmds := order.Uint32(head[16:]), order.Uint32(head[20:])
	pos, pointer := int64(28), int64(4)
	if is64 {
		pos, pointer = 32, 8
	}
	if !quick {
		c.segments = &segments{pointer: pointer}
	}
	c.end = pos + int64(sizeofcmds)
	if s.markShort(); c.end > s.size {
		c.fault = fmt.Sprintf("load commands end at %d, the slice at %d", c.end, s.size)
		c.end = max(s.size, pos)
	}
	for i := uint32(0); i < ncmds; i++ {
		b, err := s.command(src, pos, 8)
		if err == nil {
			cmd, size := order.Uint32(b), order.Uint32(b[4:])
			if cmd == lcCodeSignature {
				c.signatures++
			}
			if size < 8 || int64(size) > c.end-pos {
				c.setFault("load command %d at %d has size %d, the load commands end at %d", i, pos, size, c.end)
				return nil
			}
			err = s.readCommand(src, order, cmd, pos, size)
			if err == nil && c.segments != nil {
				err = s.readLinkedit(src, order, cmd, pos, size)
			}
			pos += int64(size)
		}
		if errors.Is(err, errOutside) {
			c.setFault("load command %d of %d at %d is truncated", i, ncmds, pos)
			return nil
		}
		if err != nil {
			return err
		}
		if quick && c.signatures > 0 {
			return nil
		}
	}
	return nil
}

// setFault records the first fault only: later ones may follow from it.
func (c *commands) setFault(format string, args ...any) {
	if c.fault == "" {
		c.fault = fmt.Sprintf(format, args...)
	}
}

// at reads from the slice, never past its end.
func (s *slice) at(src source, off int64, n int) ([]byte, error) {
	if off < 0 || off > s.size-int64(n) {
		return nil, errOutside
	}
	return src.at(s.off+off, n)
}

// command reads from the load commands, never past their end.
func (s *slice) command(src source, off int64, n int) ([]byte, error) {
	if off > s.commands.end-int64(n) {
		return nil, errOutside
	}
	return s.at(src, off, n)
}

// readCommand reads the needed fields of a load command of size bytes at pos.
func (s *slice) readCommand(src source, order binary.ByteOrder, cmd uint32, pos int64, size uint32) error {
	c := &s.commands
	switch cmd {
	case lcCodeSignature:
		if c.signatures > 1 || size < codeSignatureSize {
			if c.signatures == 1 {
				c.cmdSize = size
			}
			return nil
		}
		b, err := s.command(src, pos, codeSignatureSize)
		if err != nil {
			return err
		}
		c.cmdSize = size
		c.sigOff, c.sigSize = int64(order.Uint32(b[8:])), int64(order.Uint32(b[12:]))
	case lcEncryptionInfo, lcEncryptionInfo64:
		if size < encryptionSize {
			c.setFault("encryption command at %d has size %d, want at least %d", pos, size, encryptionSize)
			return nil
		}
		b, err := s.command(src, pos, encryptionSize)
		if err != nil {
			return err
		}
		c.encrypted = c.encrypted || order.Uint32(b[16:]) != 0
	case lcUUID:
		if size == uuidCommandSize && c.uuid.Len == 0 {
			c.uuid = Range{pos + 8, uuidCommandSize - 8}
		}
	case lcVersionMacOS:
		c.macOS = true
	case lcVersionIPhoneOS, lcVersionTVOS, lcVersionWatchOS:
		c.elsewhere = true
	case lcBuildVersion:
		if size < 12 {
			return nil
		}
		b, err := s.command(src, pos, 12)
		if err != nil {
			return err
		}
		if order.Uint32(b[8:]) == platformMacOS {
			c.macOS = true
		} else {
			c.elsewhere = true
		}
	case lcSegment, lcSegment64:
		return s.readSections(src, order, cmd == lcSegment64, pos, size)
	}
	return nil
}

// needsSignature reports whether the kernel runs this slice only with a signature: it is a program, dylib, bundle or
// dylinker for macOS on arm64. Code that names no platform may be for macOS.
func (s *slice) needsSignature() bool {
	c := &s.commands
	return s.thin && s.header[0] == cpuARM64 && c.loadable() && (c.macOS || !c.elsewhere)
}

// loadable reports whether the kernel or dyld loads files of this type.
func (c *commands) loadable() bool {
	switch c.fileType {
	case typeExecute, typeDylib, typeDylinker, typeBundle:
		return true
	}
	return false
}

// readSections looks for the section __TEXT,__info_plist in a segment command, and for the segment's protection.
func (s *slice) readSections(src source, order binary.ByteOrder, is64 bool, pos int64, size uint32) error {
	header, record := segmentSizes(is64)
	if header > int64(size) {
		s.commands.setFault("segment command at %d has size %d, want at least %d", pos, size, header)
		return nil
	}
	b, err := s.command(src, pos, int(header))
	if err != nil {
		return err
	}
	n := int64(order.Uint32(b[header-8:]))
	off, length := uint64(order.Uint32(b[32:])), uint64(order.Uint32(b[36:]))
	if is64 {
		off, length = order.Uint64(b[40:]), order.Uint64(b[48:])
	}
	// A range that does not fit is clamped past the end of any slice.
	s.addSegment(b[8:24], Range{int64(min(off, 1<<61)), int64(min(length, 1<<61))}, order.Uint32(b[header-12:]))
	if header+n*record > int64(size) {
		s.commands.setFault("segment command at %d has size %d, too short for %d sections", pos, size, n)
		n = (int64(size) - header) / record
	}
	for i := range n {
		b, err := s.command(src, pos+header+i*record, int(record))
		if err != nil {
			return err
		}
		if s.commands.infoPlist.Len != 0 || fieldString(b[:16]) != "__info_plist" || fieldString(b[16:32]) != "__TEXT" {
			continue
		}
		if is64 {
			// A size that does not fit is clamped past the end of any slice.
			length := int64(min(order.Uint64(b[40:]), 1<<62))
			s.commands.infoPlist = Range{int64(order.Uint32(b[48:])), length}
		} else {
			s.commands.infoPlist = Range{int64(order.Uint32(b[40:])), int64(order.Uint32(b[36:]))}
		}
	}
	return nil
}

// segmentSizes returns the sizes of a segment command without its sections, and of a section in it.
func segmentSizes(is64 bool) (header, section int64) {
	if is64 {
		return 72, 80 // sizeof(struct segment_command_64), section_64
	}
	return 56, 68 // sizeof(struct segment_command), section
}

// fieldString returns the name in a field of 16 bytes that is padded with NULs. It may contain any other byte.
func fieldString(field []byte) string { return string(bytes.TrimRight(field, "\x00")) }
