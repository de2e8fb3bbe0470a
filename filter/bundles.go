package filter

import (
	"narseal/macho"
	"narseal/macho/bundle"
	"narseal/macho/bundle/resources"
	"narseal/nar"
)

// enterScope sets inBundle for the entry that begins.
func (p *pipe) enterScope(e *nar.Entry) error {
	directory := e.Type == nar.TypeDirectory
	if e.Depth == 0 && directory {
		p.inBundle = p.scope.EnterRoot()
		return nil
	}
	p.inBundle = p.scope.Enter(e.Depth, e.Name, directory)
	if p.scope.Left() {
		return p.inTurn(p.bundles.Leave)
	}
	return nil
}

// newItem returns an entry for the Checker of bundles, without its contents.
func newItem(e *nar.Entry, touched bool) bundle.Item {
	it := bundle.Item{Name: string(e.Name), Touched: touched}
	switch e.Type {
	case nar.TypeDirectory:
		it.Kind = resources.Directory
	case nar.TypeSymlink:
		it.Kind, it.Link = resources.Symlink, string(e.Target)
	}
	return it
}

// addItem adds the current entry, whose contents have been read, to the bundle that it may belong to.
func (p *pipe) addItem(it bundle.Item) error {
	it.Digest = p.digest
	it.Touched = it.Touched || p.digest != nil && p.digest.Touched
	depth := p.depth
	return p.inTurn(func() { p.bundles.AddItem(depth, it) })
}

// script reports the signature of a bundle whose main executable is not an image.
func (p *pipe) script(path string, s macho.Slice) {
	o := &p.c.Signatures
	verified := o.Verify || o.Repair != RepairNone
	if verified {
		p.res.Slices++
		if p.c.Observer.Signature != nil {
			p.c.Observer.Signature(Signature{nar.NewPath(path), s})
		}
	}
	if !s.Status.OK() && (s.Touched || o.Repair == RepairAll) {
		p.invalid(nar.NewPath(path), s, false)
	}
}
