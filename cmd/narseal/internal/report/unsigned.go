package report

import (
	"cmp"

	"narseal/filter"
	"narseal/macho"
)

// Unsigned says what a slice counts as that needs a signature and has none.
type Unsigned int

const (
	// UnsignedFail counts it as invalid.
	UnsignedFail Unsigned = iota
	// UnsignedWarn lists it with a warning.
	UnsignedWarn
	// UnsignedIgnore treats it like code that needs no signature.
	UnsignedIgnore
)

const reasonUnsigned = "on arm64, macOS runs no code without a signature"

// Apply makes a slice what it counts as. A slice with a signature, or that needs none, stays as it is.
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
