package command

import (
	"strings"

	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/scan"
	"narseal/macho"
)

// entered shows which file a scan has come to. It is nil if no progress is shown.
func (e *Env) entered() func(*scan.Entry) {
	p := e.Terminal.Progress()
	if p == nil {
		return nil
	}
	return func(entry *scan.Entry) {
		path := entry.Path().Short()
		p.At(&path)
	}
}

// WarnInvalid warns of a slice that leaves the program with an invalid signature.
func (e *Env) WarnInvalid(path string, s *macho.Slice) {
	e.Terminal.Warnf("%q: %s slice at offset %d: %s", path, s.Arch, s.Offset, describe(s))
}

// WarnUnsigned warns of slices that need a signature and have none: a repair makes none. verify is the command that lists
// them.
func (e *Env) WarnUnsigned(n int64, verify string) {
	if n > 0 {
		e.Terminal.Warnf("%s missing: macOS on arm64 does not run unsigned code; %s lists it, codesign --sign - signs it",
			report.Plural(n, "signature is", "signatures are"), verify)
	}
}

// describe returns the status of a slice, and the reason if there is one.
func describe(s *macho.Slice) string {
	switch {
	case s.Reason == "":
		return string(s.Status)
	case strings.HasPrefix(s.Reason, string(s.Status)):
		return s.Reason
	}
	return string(s.Status) + ": " + s.Reason
}
