package macho

import (
	"fmt"
	"slices"
)

// markBroken sets the status of slices of a fat image that its table describes wrongly, or whose load commands are
// malformed, if that matters for its signatures: because the image has one, or because the slice would need one. The kernel
// refuses the whole file (fatfile_validate_fatarches in bsd/kern/mach_fat.c of xnu), or the slice if it is the one for its
// processor (parse_machfile in bsd/kern/mach_loader.c).
func markBroken(all []*slice, out []Slice) {
	cut := isCut(all)
	signed := slices.ContainsFunc(all, (*slice).signed) || cut // may have been
	code := slices.ContainsFunc(all, func(s *slice) bool { return s.commands.loadable() })
	for i, s := range all {
		if out[i].Status != StatusUnsigned || !signed && s.cpu[0] != cpuARM64 {
			continue
		}
		switch c := &s.commands; {
		case s.fault != "":
			out[i].Status, out[i].Reason = StatusMalformed, s.fault
		case cut && s.size < shortHeader:
			out[i].Status, out[i].Reason = StatusMalformed, s.shortFault()
		case s.inTable && c.loadable() && c.fault != "":
			out[i].Status, out[i].Reason = StatusMalformed, c.fault
		case code && !s.thin && !s.archive:
			out[i].Status, out[i].Reason = StatusMalformed, "the slice is not a Mach-O image"
		}
	}
}

// isCut reports whether a file is the start of a fat image whose slices are all gone: none is an image or a library, and
// a record for a processor of Macs describes bytes that are not there, or too few for an image.
func isCut(all []*slice) bool {
	gone := false
	for _, s := range all {
		if s.thin || s.archive {
			return false
		}
		isMac := s.cpu[0] == cpuARM64 || s.cpu[0] == cpuX8664
		gone = gone || isMac && s.inTable && (s.fault != "" || s.size < shortHeader)
	}
	return gone
}

// markShort sets the fault of a slice in a fat image whose header and load commands do not fit into it: the table describes
// it wrongly. The kernel refuses such a slice.
func (s *slice) markShort() {
	if s.inTable && s.fault == "" && s.commands.end > s.size {
		s.fault = s.shortFault()
	}
}

func (s *slice) shortFault() string {
	if s.commands.end > shortHeader {
		return fmt.Sprintf("slice at %d has %d bytes, but its load commands end at %d", s.off, s.size, s.commands.end)
	}
	return fmt.Sprintf("slice at %d has %d bytes, fewer than a Mach-O header", s.off, s.size)
}

// recordDiffers reports whether the record of a slice in a fat table names another architecture than its header. The
// kernel compares all bits, also those of capabilities.
func (s *slice) recordDiffers() bool { return s.inTable && s.cpu != s.header }
