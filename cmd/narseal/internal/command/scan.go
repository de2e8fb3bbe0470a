package command

import (
	"strings"

	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/scan"
	"narseal/macho"
)

// entered returns a function that shows the current file of a scan. It returns nil if no progress is shown.
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

// WarnInvalid warns about a slice that is written, or left in place, with an invalid signature.
func (e *Env) WarnInvalid(path string, s *macho.Slice) {
	e.Terminal.Warnf("%q: %s slice at offset %d: %s", path, s.Arch, s.Offset, describe(s))
}

// WarnUnsigned warns about slices that need a signature but have none, since repairing does not add one. verify is the
// command that lists them.
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
