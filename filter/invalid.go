package filter

import (
	"narseal/macho"
	"narseal/nar"
)

// invalid counts an invalid slice. final says that it ends the run.
func (p *pipe) invalid(path nar.Path, s macho.Slice, final bool) {
	p.res.Invalid++
	if p.c.Observer.Invalid != nil && !final {
		p.c.Observer.Invalid(Signature{path, s})
	}
}

// refuses reports whether an invalid slice ends the run. A run that touched the slice passes it on only if OnCMS or
// Repair allow it. A run that only repairs passes on slices that were invalid before. touched says whether the run
// touched any part of the image.
func (p *pipe) refuses(s macho.Slice, touched bool) bool {
	if p.c.Signatures.OnCMS == macho.CMSKeep || p.c.Signatures.Repair == RepairNone {
		return false
	}
	switch s.Status {
	case macho.StatusCMS:
		return s.Touched
	case macho.StatusUnsupported:
		return touched && s.Touched
	case macho.StatusMalformed:
		// It is not certain which bytes belong to the slice.
		return touched
	}
	return false
}
