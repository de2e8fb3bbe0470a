package bundle

import (
	"narseal/macho/bundle/resources"
	"narseal/macho/internal/spelling"
)

// A form says where the Info.plist and the main executable of a bundle are.
type form int

const (
	flatForm      form = iota // both in the directory itself, or the executable in MacOS
	resourcesForm             // Resources/Info.plist, and the executable in the directory
	contentsForm              // Contents/Info.plist, and the executable in Contents/MacOS
	versionsForm              // as one of the other forms in the directory that Versions/Current names
	otherForm                 // a form that is not compared
)

const (
	unknownForm     = "it has a form that is not known"
	frameworkSuffix = ".framework"
)

// Names that CFBundle and Security.framework look for in the directory of a bundle.
const (
	supportFiles   = "Support Files"
	currentVersion = "Versions/Current"
	wrapperDir     = "Wrapper"
	wrapperLink    = "WrappedBundle"
	macInfoPlist   = "Info-macos.plist"
	phoneInfoPlist = "Info-iphoneos.plist"
	resourcesName  = "Resources"
	executablesIn  = "MacOS"
)

// known holds these names.
var known = spelling.NewTable(
	contentsName, resourcesName, supportFiles, currentVersion, wrapperDir, wrapperLink, executablesIn, codeResourcesDir[1:], codeResourcesPath,
	infoPlistName, macInfoPlist, phoneInfoPlist, resourcesName+"/"+infoPlistName, resourcesName+"/"+macInfoPlist, resourcesName+"/"+phoneInfoPlist,
)

// A layout holds the entries of a bundle's directory that macOS may find under such names. The usual file systems of macOS
// ignore case and the form of Unicode, and CFBundle ignores case on all file systems.
type layout map[string][]entry

type entry struct {
	path string // relative to the directory
	file *resources.File
}

// layoutOf returns the layout of the directory with these files. The first cut bytes of their paths are ignored.
func layoutOf(files []resources.File, cut int) layout {
	l := layout{}
	for i := range files {
		path := files[i].Path[cut:]
		if name := known.Name(path); name != "" {
			l[name] = append(l[name], entry{path, &files[i]})
		}
	}
	return l
}

func (l layout) has(name string) bool { return len(l[name]) > 0 }

// only reports whether exactly one entry may be found under a name, and has this name and this kind.
func (l layout) only(name string, kind resources.Kind) bool {
	return len(l[name]) == 1 && l[name][0].path == name && l[name][0].file.Kind == kind
}

// form returns the form of the bundle (BundleDiskRep::setup in Security.framework, _CFBundleGetBundleVersionForURL in
// CFBundle). why is the reason if it is unclear.
func (l layout) form(isFramework bool) (f form, why string) {
	switch {
	case l.has(wrapperDir) && l.has(wrapperLink), l.has(supportFiles) && !l.has(contentsName):
		return otherForm, unknownForm
	case l.has(contentsName):
		// In a framework, CFBundle prefers Resources, and Security.framework Contents.
		if !l.only(contentsName, resources.Directory) || isFramework && l.has(resourcesName) {
			return otherForm, unknownForm
		}
		return contentsForm, ""
	case l.has(currentVersion):
		return versionsForm, ""
	case !l.has(resourcesName):
		return flatForm, ""
	case len(l[resourcesName]) > 1 || l[resourcesName][0].path != resourcesName:
		return otherForm, unknownForm
	case !l.only(resourcesName, resources.Directory):
		return resourcesForm, "its Resources are not a directory"
	case !l.has(resourcesName+"/"+infoPlistName) && l.has(infoPlistName):
		return resourcesForm, "its Info.plist is not in Resources, where macOS looks for it"
	}
	return resourcesForm, ""
}

// otherInfo returns an entry of a directory, "" or "Resources/", that macOS or iOS may use instead of the Info.plist there,
// and the reason.
func (l layout) otherInfo(dir string) (e *entry, why string) {
	for _, kind := range []struct{ name, why string }{
		{macInfoPlist, "macOS prefers it to Info.plist"}, {phoneInfoPlist, "iOS prefers it to Info.plist"},
		{infoPlistName, "macOS may take it for Info.plist"},
	} {
		for i := range l[dir+kind.name] {
			e := &l[dir+kind.name][i]
			switch {
			case kind.name != infoPlistName || e.path != dir+infoPlistName:
				return e, kind.why
			case e.file.Kind != resources.Regular:
				return e, "it is not a file"
			}
		}
	}
	return nil, ""
}

// mayBeInfo reports whether macOS or iOS may use an item as an Info.plist, although it is none.
func mayBeInfo(it *Item) bool {
	switch known.Name(it.Name) {
	case macInfoPlist, phoneInfoPlist:
		return true
	case infoPlistName:
		return it.Name != infoPlistName || it.Kind != resources.Regular
	}
	return false
}

// otherList returns the reason why macOS may find another list of resources, or "".
func (l layout) otherList() string {
	for _, name := range []string{codeResourcesDir[1:], codeResourcesPath} {
		for _, e := range l[name] {
			if e.path != name {
				return "macOS may find another list at " + e.path
			}
		}
	}
	return ""
}

// severalExecutables is a reason why the main executable is unclear.
const severalExecutables = "there may be several main executables"

// executables returns the reason why CFBundle may find another main executable than the file at path, or "". The path is
// relative to the directory of the bundle, and name is its last element.
func (l layout) executables(f form, files []resources.File, cut int, path, name string) string {
	inMacOS := executablesIn + "/" + name
	n := alike(files, cut, path)
	if f == flatForm && path != inMacOS {
		n += alike(files, cut, inMacOS) // CFBundle looks there first
	}
	if n > 1 {
		return severalExecutables
	}
	for _, e := range l[executablesIn] {
		if f != resourcesForm && e.file.Kind == resources.Symlink {
			return severalExecutables
		}
	}
	return ""
}
