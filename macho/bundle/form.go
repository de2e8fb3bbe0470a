package bundle

import (
	"strings"

	"narseal/macho"
)

// layout returns the layout of the directory of a complete bundle.
func (b *openBundle) layout(c *Checker) layout {
	if b.places == nil {
		from, cut := c.tree.from(b.depth)
		b.places = layoutOf(c.tree.files[from:], cut)
	}
	return b.places
}

// form returns the form of a complete bundle. why is the reason if it may not be the form that was compared.
func (b *openBundle) form(c *Checker) (f form, why string) {
	l := b.layout(c)
	if b.isBase(c) {
		return contentsForm, l.otherList()
	}
	f, why = l.form(false)
	switch {
	case f != flatForm && f != resourcesForm:
		return f, unknownForm
	case why == "":
		why = l.otherList()
	}
	return f, why
}

// executables returns the reason why CFBundle may find another main executable than the one at path, or "".
func (b *openBundle) executables(c *Checker, path, name string) string {
	f, _ := b.form(c)
	from, cut := c.tree.from(b.depth)
	return b.layout(c).executables(f, c.tree.files[from:], cut, path, name)
}

// enclose opens the bundle whose Contents or version is b, which has been compared. Entries beside b may give that bundle
// another form.
func (c *Checker) enclose(b *openBundle) {
	sealing := b.codeResources != nil || b.scripted
	for i := range b.slices {
		sealing = sealing || len(b.slices[i].slice.External) > 0
	}
	dir, name := splitPath(b.root)
	outer, isVersion := strings.CutSuffix(dir, "/Versions")
	if name == contentsName {
		outer = dir
	}
	if !c.CheckResources || c.Script == nil || !sealing || name != contentsName && !isVersion || !b.inScope(&c.tree) || c.tree.full != "" {
		return
	}
	if o := c.at(outer); o != nil {
		o.inner = b.root[len(outer)+1:]
		if name != contentsName {
			o.addVersion(c, b, name)
		}
	}
}

// compareBeside reports a bundle in which CFBundle may not use the Contents or the version that was compared.
func (b *openBundle) compareBeside(c *Checker) {
	if b.inner == "" || !b.inScope(&c.tree) {
		return
	}
	why := c.tree.full
	if why == "" {
		name := b.directoryName(c)
		switch f, _ := b.layout(c).form(strings.HasSuffix(name, frameworkSuffix) || name == ""); {
		case (f == contentsForm) != (b.versions == nil), f == otherForm:
			why = "entries beside it may give the bundle another form"
		case b.versions != nil:
			why = b.besideVersions(c)
		}
		if why == "" {
			return
		}
	}
	path := b.inner + "/" + codeResourcesPath
	s := macho.Slice{Arch: archNone, Status: macho.StatusValid, Signature: "none"}
	mark(&s, "not checked: "+why, b.touched(c))
	b.name(&s, macho.Resource{Path: path, Problem: "not checked: " + why})
	c.Script(b.root+"/"+path, s)
}
