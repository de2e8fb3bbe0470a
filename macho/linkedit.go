package macho

import (
	"encoding/binary"
	"fmt"
)

// segments holds what the load commands say about the segments of a slice, except for the executable ones.
type segments struct {
	pastEnd  string // names one that ends past the slice; empty: none
	linkedit Range  // __LINKEDIT; Len 0: none
	content  []linkeditContent
	pointer  int64 // bytes of a pointer
}

// linkeditContent is a part of __LINKEDIT that a load command names.
type linkeditContent struct {
	name string
	Range
}

// addSegment records a segment.
func (s *slice) addSegment(name []byte, r Range, initprot uint32) {
	c := &s.commands
	if initprot&protExecute != 0 && r.Len > 0 {
		c.executable = append(c.executable, r)
	}
	if c.segments == nil {
		return
	}
	if r.end() > s.size && c.segments.pastEnd == "" {
		c.segments.pastEnd = fmt.Sprintf("segment %q at %d to %d", fieldString(name), r.Off, r.end())
	}
	if fieldString(name) == "__LINKEDIT" && c.segments.linkedit.Len == 0 {
		c.segments.linkedit = r
	}
}

// kernelLoads reports whether the kernel maps the segments of files of this type. dyld maps those of dylibs and bundles.
func (c *commands) kernelLoads() bool { return c.fileType == typeExecute || c.fileType == typeDylinker }

// maxLinkeditContent bounds the recorded parts of __LINKEDIT. Images have about ten.
const maxLinkeditContent = 64

// linkeditFields lists, for each load command that names parts of __LINKEDIT, where the offset and the size of each
// part are. Both are u32, and the size counts units of this many bytes. A unit of 0 is the size of an nlist, which
// depends on the word size.
var linkeditFields = map[uint32][]struct {
	name       string
	off, count int64
	unit       int64
}{
	lcSymtab: {{"symbol table", 8, 12, 0}, {"string table", 16, 20, 1}},
	lcDysymtab: {
		{"table of contents", 32, 36, 8}, {"indirect symbol table", 56, 60, 4},
		{"external relocations", 64, 68, 8}, {"local relocations", 72, 76, 8},
	},
	lcDyldInfo: {
		{"rebase opcodes", 8, 12, 1}, {"bind opcodes", 16, 20, 1}, {"weak bind opcodes", 24, 28, 1},
		{"lazy bind opcodes", 32, 36, 1}, {"exports trie", 40, 44, 1},
	},
	lcSegmentSplitInfo: {{"shared cache info", 8, 12, 1}},
	lcFunctionStarts:   {{"function starts", 8, 12, 1}},
	lcDataInCode:       {{"data in code", 8, 12, 1}},
	lcExportsTrie:      {{"exports trie", 8, 12, 1}},
	lcChainedFixups:    {{"chained fixups", 8, 12, 1}},
}

// readLinkedit reads a load command of size bytes at pos that may name content of __LINKEDIT.
func (s *slice) readLinkedit(src source, order binary.ByteOrder, cmd uint32, pos int64, size uint32) error {
	c := s.commands.segments
	fields := linkeditFields[cmd&^lcRequired]
	if len(fields) == 0 || int64(size) < fields[len(fields)-1].count+4 {
		return nil
	}
	b, err := s.command(src, pos, int(fields[len(fields)-1].count)+4)
	if err != nil {
		return err
	}
	for _, f := range fields {
		unit := f.unit
		if unit == 0 {
			unit = 8 + c.pointer // sizeof(struct nlist) or nlist_64
		}
		n := unit * int64(order.Uint32(b[f.count:]))
		if n > 0 && len(c.content) < maxLinkeditContent {
			c.content = append(c.content, linkeditContent{f.name, Range{int64(order.Uint32(b[f.off:])), n}})
		}
	}
	return nil
}

// linkeditWarning says why dyld refuses the position of the signature, or returns "". The dyld of macOS 10.14 to 11
// refused such an image (MachOAnalyzer::validLinkeditLayout of dyld-625 to dyld-852); later versions check it only in
// tools (Image::validStructureLinkedit of dyld-1378).
func (s *slice) linkeditWarning(g *signature) string {
	c := &s.commands
	if !c.loadable() {
		return ""
	}
	const refused = "dyld-625 to dyld-852 (macOS 10.14 to 11) refuse that"
	if in := c.segments.linkedit; g.off < in.Off || g.off+g.size > in.end() {
		return fmt.Sprintf("signature at %d to %d is not inside __LINKEDIT at %d to %d: %s", g.off, g.off+g.size, in.Off, in.end(), refused)
	}
	if g.off%c.segments.pointer != 0 {
		return fmt.Sprintf("signature at %d is not at a multiple of %d: %s", g.off, c.segments.pointer, refused)
	}
	for _, x := range c.segments.content {
		if x.intersects(g.off, g.off+g.size) {
			return fmt.Sprintf("%s at %d to %d overlaps the signature at %d to %d: %s", x.name, x.Off, x.end(), g.off, g.off+g.size, refused)
		}
	}
	return ""
}
