package bundle

import (
	"slices"
	"strings"

	"narseal/macho"
	"narseal/macho/bundle/resources"
)

// contents describes a directory that may be a bundle.
type contents struct {
	counted   bool
	files     int    // entries other than directories
	only      string // the name of one of these
	signature bool   // it has a directory _CodeSignature
	macOS     bool   // it has a directory MacOS
	touched   bool   // the caller has changed a file
}

// isContents reports whether the root, which usually has no name, is the Contents of a bundle, not a directory that
// merely contains one named MacOS.
func (b *openBundle) isContents(c *Checker, w *waitingSlice) bool {
	b.look(c)
	if c.RootName == contentsName || b.codeResources != nil || b.contents.signature {
		return true
	}
	_, name := splitPath(w.path)
	for _, d := range []*FileDigest{b.infoPlist, b.inResources} {
		if d == nil {
			continue
		}
		matches := func(s macho.SpecialSlot) bool { return s.K != slotResources && d.equals(s) }
		if slices.ContainsFunc(w.slice.External, matches) || d.name == name {
			return true
		}
	}
	return false
}

// look examines the contents of the directory, once.
func (b *openBundle) look(c *Checker) {
	if !b.contents.counted {
		b.contents = contents{counted: true}
		if b.inScope(&c.tree) {
			b.contents.count(&c.tree, b.depth)
		}
	}
}

// isBundle reports whether the directory is a bundle. Otherwise, an executable may have been moved there out of its
// bundle, and the files that it seals do not count as missing.
func (b *openBundle) isBundle(c *Checker, executable string) bool {
	b.look(c)
	dir, name := splitPath(b.root)
	if b.root == "" {
		name = c.RootName
	}
	in := &b.contents
	if b.infoPlist != nil || b.inResources != nil || b.codeResources != nil || in.signature {
		return true
	}
	alone := in.files == 0 || in.files == 1 && in.only == executable
	return !alone && (isBundleName([]byte(name)) || strings.HasSuffix(dir, "/Versions"))
}

func (in *contents) count(t *tree, depth int) {
	from, cut := t.from(depth)
	for i := from; i < len(t.files); i++ {
		f := &t.files[i]
		path := f.Path[cut:]
		in.touched = in.touched || f.Touched
		in.signature = in.signature || path == codeResourcesDir[1:] && f.Kind == resources.Directory
		in.macOS = in.macOS || path == executablesDir[1:] && f.Kind == resources.Directory
		if f.Kind != resources.Directory {
			in.files++
			in.only = path
		}
	}
}

// executable returns the path of a slice's image from the base.
func (b *openBundle) executable(w *waitingSlice) string {
	return strings.TrimPrefix(strings.TrimPrefix(w.path, b.root), "/")
}

// inScope reports whether the tree contains the files of the bundle.
func (b *openBundle) inScope(t *tree) bool { return t.inside && b.depth >= t.depth }

// lift makes the slices of a directory MacOS in the root wait for the end of the root, which may be the Contents of a
// bundle, and reports whether it did. A directory MacOS that contains the files of a bundle is a bundle itself.
func (c *Checker) lift(b *openBundle) bool {
	if b.root != executablesDir || len(b.slices) == 0 || b.infoPlist != nil || b.inResources != nil || b.codeResources != nil {
		return false
	}
	root := c.at("")
	root.given += b.given
	for _, w := range b.slices {
		w.above = true
		root.slices = append(root.slices, w)
	}
	return true
}

// Leave says that the root, which a Scope treated as a bundle, is not one.
func (c *Checker) Leave() {
	c.endTree()
	for _, b := range c.open {
		b.listContents, b.given = nil, 0
		for i := range b.slices {
			b.slices[i].contents = nil
		}
	}
}
