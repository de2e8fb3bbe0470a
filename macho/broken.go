package macho

import "slices"

// markBroken sets the status of slices that the table of a fat image describes wrongly, if that matters for its
// signatures: because the image has one, or because the slice would need one. The kernel refuses the whole file
// (fatfile_validate_fatarches in bsd/kern/mach_fat.c of xnu), or the slice if it is the one for its processor.
func markBroken(all []*slice, out []Slice) {
	signed := slices.ContainsFunc(all, (*slice).signed) || isCut(all) // may have been
	code := slices.ContainsFunc(all, func(s *slice) bool { return s.commands.loadable() })
	for i, s := range all {
		if out[i].Status != StatusUnsigned || !signed && s.cpu[0] != cpuARM64 {
			continue
		}
		switch {
		case s.fault != "":
			out[i].Status, out[i].Reason = StatusMalformed, s.fault
		case code && !s.thin && !s.archive:
			out[i].Status, out[i].Reason = StatusMalformed, "the slice is not a Mach-O image"
		case s.inTable && s.thin && s.commands.fault != "" && s.commands.maybeLoadable():
			// The record ends too early, or the slice is damaged: it cannot be loaded, and may have had a signature.
			out[i].Status, out[i].Reason = StatusMalformed, s.commands.fault
		}
	}
}

// isCut reports whether a file is the start of a fat image of programs or libraries whose slices are all gone. One of them is
// for a processor of Macs.
func isCut(all []*slice) bool {
	mac := false
	for _, s := range all {
		if s.thin || s.archive || s.fault == "" {
			return false
		}
		mac = mac || s.cpu[0] == cpuARM64 || s.cpu[0] == cpuX8664
	}
	return mac
}

// recordDiffers reports whether the record of a slice in a fat table names another architecture than its header. The
// kernel compares all bits, also those of capabilities.
func (s *slice) recordDiffers() bool { return s.inTable && s.cpu != s.header }
