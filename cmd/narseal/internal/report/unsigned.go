package report

import (
	"cmp"

	"narseal/filter"
	"narseal/macho"
)

// Unsigned says how a slice counts that needs a signature but has none.
type Unsigned int

const (
	// UnsignedFail counts the slice as invalid.
	UnsignedFail Unsigned = iota
	// UnsignedWarn lists the slice with a warning.
	UnsignedWarn
	// UnsignedIgnore treats the slice like code that needs no signature.
	UnsignedIgnore
)

const reasonUnsigned = "on arm64, macOS runs no code without a signature"

// Apply changes a slice accordingly. A slice that has a signature, or needs none, stays unchanged.
func (u Unsigned) Apply(s *macho.Slice) {
	if s.Status != macho.StatusUnsigned || !s.NeedsSignature {
		return
	}
	switch u {
	case UnsignedFail:
		s.Reason = cmp.Or(s.Reason, reasonUnsigned)
		return
	case UnsignedWarn:
		s.Warnings = append(s.Warnings, reasonUnsigned)
	}
	s.NeedsSignature = false
}

// ApplyTo makes cfg report slices without a signature as u says.
func (u Unsigned) ApplyTo(cfg *filter.Config) {
	cfg.Signatures.Unsigned = u != UnsignedIgnore
	report := cfg.Observer.Signature
	cfg.Observer.Signature = func(s filter.Signature) {
		u.Apply(&s.Slice)
		report(s)
	}
}
