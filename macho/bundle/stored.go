package bundle

import (
	"cmp"
	"slices"
	"strings"

	"narseal/macho"
	"narseal/macho/bundle/resources"
)

// isBase reports whether the root is the Contents of a bundle, whose executables are in MacOS.
func (b *openBundle) isBase(c *Checker) bool {
	if b.root != "" {
		return strings.HasSuffix(b.root, contentsDir)
	}
	if isBundleName([]byte(c.RootName)) {
		return c.RootName == contentsName
	}
	b.look(c)
	return b.mainInMacOS || c.RootName == "" && b.contents.macOS || slices.ContainsFunc(b.slices, func(w waitingSlice) bool { return w.above })
}

// info returns the Info.plist that CFBundle uses, and its path relative to the root.
func (b *openBundle) info(c *Checker) (d *FileDigest, path string) {
	if b.inResources != nil && !b.isBase(c) {
		return b.inResources, resourcesDir[1:] + "/" + infoPlistName
	}
	return b.infoPlist, infoPlistName
}

// isAmbiguous reports whether a bundle without Contents and Versions has both Info.plists.
func (b *openBundle) isAmbiguous(c *Checker) bool {
	dir, _ := splitPath(b.root)
	return b.infoPlist != nil && b.inResources != nil && !b.isBase(c) && !strings.HasSuffix(dir, "/Versions")
}

// compareStored compares the Info.plist and the list with the slots of a slice.
func (b *openBundle) compareStored(c *Checker, w *waitingSlice) {
	s := &w.slice
	var changed [slotResources + 1]bool // by slot, since several CodeDirectories have the same slot
	for _, stored := range s.External {
		d, name, path := b.codeResources, codeResourcesName, codeResourcesPath
		if stored.K != slotResources {
			d, _ = b.info(c)
			name, path = infoPlistName, infoPlistName
		}
		if changed[stored.K] || d != nil && d.equals(stored) {
			continue
		}
		why, problem, touched := "is not the one that was signed", resources.Changed, d != nil && d.Touched
		switch {
		case d == nil:
			// compareResources says that there is no list.
			if stored.K == slotResources || !c.CheckResources || !b.isBundle(c, b.executable(w)) {
				continue
			}
			why, problem, touched = "is missing", "missing", b.contents.touched
		case stored.K == slotInfoPlist && b.isAmbiguous(c) && b.infoPlist.equals(stored):
			problem = "not checked: Resources has another one, which counts"
		}
		changed[stored.K] = true
		if s.Bundle == nil {
			mark(s, "the bundle's "+name+" "+why, touched)
		}
		s.Touched = s.Touched || touched
		b.name(s, macho.Resource{Path: path, Problem: problem})
	}
	if sealsInfoPlist(s) || sealsResources(s) {
		b.compareOtherInfo(c, s)
	}
	if !changed[slotInfoPlist] {
		b.compareNamed(c, s)
	}
}

// sealsInfoPlist reports whether a slice seals an Info.plist.
func sealsInfoPlist(s *macho.Slice) bool {
	return slices.ContainsFunc(s.External, func(e macho.SpecialSlot) bool { return e.K == slotInfoPlist })
}

// compareOtherInfo reports a file that macOS may take instead of the Info.plist.
func (b *openBundle) compareOtherInfo(c *Checker, s *macho.Slice) {
	if !c.CheckResources || !c.tree.otherInfo || !b.inScope(&c.tree) {
		return
	}
	dir := ""
	if f, _ := b.form(c); f == resourcesForm {
		dir = resourcesName + "/"
	}
	if e, why := b.layout(c).otherInfo(dir); e != nil {
		why = "not checked: " + why
		mark(s, e.path+": "+why, b.touched(c))
		b.name(s, macho.Resource{Path: e.path, Problem: why})
	}
}

// compareNamed reports an Info.plist that may name another main executable, which nothing seals. compareElsewhere
// reports a main executable in another directory.
func (b *openBundle) compareNamed(c *Checker, s *macho.Slice) {
	name, _, why := b.executableName(c)
	if why == "" && b.codeResources == nil && sealsInfoPlist(s) && b.inScope(&c.tree) && c.tree.full == "" {
		_, why = b.form(c)
		name = ""
	}
	if !c.CheckResources || why == "" || name != "" && (b.codeResources != nil || sealsResources(s)) || c.tree.full != "" && sealsResources(s) {
		return
	}
	_, path := b.info(c)
	why = "not checked: " + why
	mark(s, why, b.touched(c))
	b.name(s, macho.Resource{Path: path, Problem: why})
}

// comparePartly reports an executable if one of its slices, or the CodeDirectory that is used, does not seal the list.
func (b *openBundle) comparePartly(c *Checker, w *waitingSlice) {
	if b.codeResources == nil || !b.inScope(&c.tree) || !c.tree.partly[w.file] {
		return
	}
	const why = "a slice, or the CodeDirectory that counts, does not seal the list of resources"
	mark(&w.slice, why, b.touched(c))
	b.name(&w.slice, macho.Resource{Path: b.executable(w), Problem: why})
}

// touched reports whether the caller has changed a file of the bundle, or may have done so.
func (b *openBundle) touched(c *Checker) bool {
	b.look(c)
	return c.Reseal != nil && (b.contents.touched || c.tree.full != "" && c.tree.touched || c.Touched && !b.inScope(&c.tree))
}

// file returns the file at a path relative to the root of a complete bundle, or nil. It caches results, since many
// slices may ask for the same path.
func (b *openBundle) file(c *Checker, path string) (found *resources.File) {
	if f, known := b.found[path]; known {
		return f
	}
	if b.found == nil {
		b.found = map[string]*resources.File{}
	}
	defer func() { b.found[path] = found }()
	from, cut := c.tree.from(b.depth)
	for i := from; i < len(c.tree.files); i++ {
		if f := &c.tree.files[i]; f.Path[cut:] == path {
			return f
		}
	}
	return nil
}

// executableName returns the name of the main executable: the one in Info.plist (named), or else that of the bundle.
// why is the reason if CFBundle may find another one.
func (b *openBundle) executableName(c *Checker) (name string, named bool, why string) {
	if d, _ := b.info(c); d != nil {
		name := d.name
		switch {
		case int64(len(d.kept)) != d.size:
			return "", false, "Info.plist is too large"
		case !d.isClear:
			return "", false, "Info.plist may be read in several ways"
		case name != "" && !isFileName(name):
			return name, true, "Info.plist names an executable in another directory"
		case name != "":
			return name, true, ""
		}
	}
	name, _, _ = cutLast(b.directoryName(c), ".")
	return name, false, ""
}

// directoryName returns the name of the bundle's directory, or "" if that is unknown.
func (b *openBundle) directoryName(c *Checker) string {
	root := b.root
	dir, name := splitPath(root)
	switch {
	case root == "" && c.RootName == contentsName:
		return "" // it is around the tree
	case name == contentsName:
		root = dir
	case strings.HasSuffix(dir, "/Versions"):
		root = strings.TrimSuffix(dir, "/Versions")
	}
	if root == "" {
		return c.RootName
	}
	_, name = splitPath(root)
	return name
}

// compareElsewhere reports a bundle whose list is not sealed by the executable at the usual place. An executable
// elsewhere may seal it, which was not compared with the list.
func (b *openBundle) compareElsewhere(c *Checker) {
	if !c.CheckResources || c.Script == nil || b.codeResources == nil || b.scripted {
		return
	}
	why := b.elsewhere(c)
	if why == "" {
		return
	}
	s := macho.Slice{Arch: archNone, Status: macho.StatusValid, Signature: "none"}
	mark(&s, "not checked: "+why, b.touched(c))
	b.name(&s, macho.Resource{Path: codeResourcesPath, Problem: "not checked: " + why})
	c.Script(b.root+"/"+codeResourcesPath, s)
}

// elsewhere returns the reason why the main executable may be at another place, or "".
func (b *openBundle) elsewhere(c *Checker) string {
	info, _ := b.info(c)
	name, named, why := b.executableName(c)
	if why != "" && (name != "" || c.tree.stray) {
		return why
	}
	if why != "" || !b.inScope(&c.tree) || c.tree.full != "" {
		return ""
	}
	_, why = b.form(c)
	if why != "" {
		return why
	}
	path, inMacOS := b.spelled(c, name), b.spelled(c, executablesDir[1:]+"/"+name)
	if b.isBase(c) {
		path = inMacOS
	}
	others := false
	for i := range b.slices {
		w := &b.slices[i]
		if !sealsResources(&w.slice) || w.above && !b.isContents(c, w) {
			continue
		}
		if b.executable(w) == path {
			return cmp.Or(b.executables(c, path, name), b.components(c))
		}
		others = others || info != nil || !sealsInfoPlist(&w.slice) // a missing Info.plist is reported elsewhere
	}
	file := b.file(c, path)
	switch {
	case others && (named || isBundleName([]byte(b.directoryName(c)))):
		return "the executable that seals it is not the main one"
	case others && b.hasOther(c):
		return "no Info.plist names the main executable, and there are several files"
	case file != nil && file.Kind == resources.Symlink:
		return "the main executable is a symlink"
	case c.tree.stray && file == nil:
		return "the main executable is not at its place"
	case c.tree.stray && path != inMacOS && b.file(c, inMacOS) != nil:
		return severalExecutables
	}
	return ""
}

// hasOther reports whether a file other than the executables that seal the list may be the main executable: CFBundle looks
// for the name of the bundle's directory.
func (b *openBundle) hasOther(c *Checker) bool {
	from, cut := c.tree.from(b.depth)
	for i := from; i < len(c.tree.files); i++ {
		f := &c.tree.files[i]
		dir, name := splitPath(f.Path[cut:])
		if f.Kind == resources.Directory || dir != executablesIn && (dir != "" || b.isBase(c) || name == infoPlistName) {
			continue
		}
		if !slices.ContainsFunc(b.slices, func(w waitingSlice) bool { return w.file == i && sealsResources(&w.slice) }) {
			return true
		}
	}
	return false
}
