package bundle

import (
	"strings"

	"narseal/macho/bundle/resources"
)

// platformInfoPlist is the name of an Info.plist that CFBundle prefers on macOS.
const platformInfoPlist = "Info-macos.plist"

// Names that occur in other forms of bundles.
const (
	supportFiles   = "Support Files"
	currentVersion = "Versions/Current"
)

// nestedCode returns the slices of the main executable of a nested bundle.
func nestedCode(files []resources.File, at int) []resources.Code {
	if f, _ := nestedFile(files, at); f != nil {
		return f.Code
	}
	return nil
}

// nestedFile returns the main executable of a nested bundle, or nil. If it is unclear which one CFBundle finds, why is
// the reason.
func nestedFile(files []resources.File, at int) (f *resources.File, why string) {
	root := files[at].Path
	end := at + 1
	for end < len(files) && strings.HasPrefix(files[end].Path, root+"/") {
		end++
	}
	n := &nested{inside: files[at+1 : end], base: root, dir: root}
	if why := n.locate(root); why != "" {
		return nil, why
	}
	info := n.find(n.base + "/" + infoPlistName)
	if other := n.find(n.base + resourcesDir + "/" + infoPlistName); n.base == n.dir && other != nil {
		info = other // a bundle without Contents has its Info.plist there, or else in its base
	}
	name, _, _ := cutLast(root[strings.LastIndexByte(root, '/')+1:], ".")
	if info != nil {
		dir, _ := splitPath(info.Path)
		switch {
		case info.Kind != resources.Regular || info.Unclear || n.find(dir+"/"+platformInfoPlist) != nil:
			return nil, "its Info.plist may be read in several ways"
		case info.Executable != "":
			name = info.Executable
		}
	}
	if !isFileName(name) {
		return nil, "its Info.plist names an executable in another directory"
	}
	if f = n.find(n.dir + "/" + name); f == nil {
		f = spelled(n.inside, 0, n.dir+"/"+name)
	}
	for _, dir := range []string{n.base, n.base + executablesDir} {
		if other := n.find(dir + "/" + name); other != nil && other != f && (f == nil || dir != n.base) {
			return nil, "it may have several main executables"
		}
	}
	if f == nil {
		f = info // in a bundle without an executable, Info.plist is signed
	}
	return f, ""
}

// nested is a bundle in a bundle.
type nested struct {
	inside    []resources.File
	base, dir string // directories of the list's paths and of the main executable
}

func (n *nested) find(path string) *resources.File {
	for i := range n.inside {
		if n.inside[i].Path == path {
			return &n.inside[i]
		}
	}
	return nil
}

// locate finds the base of the bundle (BundleDiskRep::setup), or returns the reason why it is unclear.
func (n *nested) locate(root string) string {
	contents, support := n.find(root+contentsDir), n.find(root+"/"+supportFiles)
	current := n.find(root + "/" + currentVersion)
	switch {
	case contents != nil && contents.Kind == resources.Directory:
		n.base = root + contentsDir
		n.dir = n.base + executablesDir
	case contents != nil || support != nil:
		return "it has a form that is not known"
	case current != nil:
		version := strings.TrimPrefix(strings.TrimSuffix(current.Link, "/"), "./")
		if current.Kind != resources.Symlink || !isFileName(version) {
			return "its Versions/Current is not the name of a version"
		}
		n.base = root + "/Versions/" + version
		n.dir = n.base
	}
	if n.base == n.dir {
		if r := n.find(n.base + resourcesDir); r != nil && r.Kind != resources.Directory {
			return "its Resources are not a directory"
		}
	}
	return ""
}

// isFileName reports whether name is the name of a file, not a path.
func isFileName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.Contains(name, "/")
}
