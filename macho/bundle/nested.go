package bundle

import (
	"strings"

	"narseal/macho/bundle/resources"
)

// mainFile is the main executable of a nested bundle: a file, or nil. why is the reason if it is unclear which one CFBundle
// finds.
type mainFile struct {
	file *resources.File
	why  string
}

func (m mainFile) code() []resources.Code {
	if m.file == nil {
		return nil
	}
	return m.file.Code
}

// mains finds them among the files of a bundle, each once: names take time to compare.
type mains struct {
	files []resources.File
	found map[int]mainFile
}

func (m *mains) at(i int) mainFile {
	main, ok := m.found[i]
	if !ok {
		if m.found == nil {
			m.found = map[int]mainFile{}
		}
		main.file, main.why = nestedFile(m.files, i)
		m.found[i] = main
	}
	return main
}

func (m *mains) code(i int) []resources.Code { return m.at(i).code() }

// nestedFile returns the main executable of the nested bundle at an index, or nil. If it is unclear which one CFBundle
// finds, why is the reason.
func nestedFile(files []resources.File, at int) (f *resources.File, why string) {
	root := files[at].Path
	n, form, why := locate(files[at+1:], root)
	if why != "" {
		return nil, why
	}
	l := layoutOf(n.inside, len(n.base)+1)
	path := n.base + "/" + infoPlistName
	if form == resourcesForm {
		path = n.base + resourcesDir + "/" + infoPlistName
	}
	if other, _ := l.otherInfo(strings.TrimSuffix(path[len(n.base)+1:], infoPlistName)); other != nil {
		return nil, "its Info.plist may be read in several ways"
	}
	info := n.find(path)
	name, _, _ := cutLast(root[strings.LastIndexByte(root, '/')+1:], ".")
	if info != nil {
		switch {
		case info.Unclear:
			return nil, "its Info.plist may be read in several ways"
		case info.Executable != "":
			name = info.Executable
		}
	}
	if !isFileName(name) {
		return nil, "its Info.plist names an executable in another directory"
	}
	path = name
	if form == contentsForm {
		path = executablesIn + "/" + name
	}
	if f = n.find(n.base + "/" + path); f == nil {
		f = spelled(n.inside, 0, n.base+"/"+path)
	}
	if f == nil {
		for _, path := range []string{"/" + name, executablesDir + "/" + name} {
			if n.find(n.base+path) != nil {
				return nil, "it may have several main executables"
			}
		}
		return info, "" // in a bundle without an executable, Info.plist is signed
	}
	if l.executables(form, n.inside, len(n.base)+1, f.Path[len(n.base)+1:], name) != "" {
		return nil, "it may have several main executables"
	}
	return f, ""
}

// nested is a bundle in a bundle.
type nested struct {
	inside []resources.File // the files in base
	base   string           // directory of the list's paths
}

func (n *nested) find(path string) *resources.File {
	for i := range n.inside {
		if n.inside[i].Path == path {
			return &n.inside[i]
		}
	}
	return nil
}

// below returns the files in a directory. The given files are in depth-first order and begin with them.
func below(files []resources.File, dir string) []resources.File {
	prefix := dir + "/"
	end := 0
	for end < len(files) && strings.HasPrefix(files[end].Path, prefix) {
		end++
	}
	return files[:end]
}

// locate finds the base of a bundle (BundleDiskRep::setup) and its form there, or returns the reason why they are unclear.
func locate(files []resources.File, root string) (n *nested, f form, why string) {
	n = &nested{inside: below(files, root), base: root}
	l := layoutOf(n.inside, len(root)+1)
	if f, why = l.form(strings.HasSuffix(root, frameworkSuffix)); why != "" {
		return nil, f, why
	}
	switch f {
	case contentsForm:
		n.base += contentsDir
	case versionsForm:
		version := l.current()
		if version == "" {
			return nil, f, "its Versions/Current is not the name of a version"
		}
		n.base += "/Versions/" + version
	}
	prefix := n.base + "/"
	for len(n.inside) > 0 && !strings.HasPrefix(n.inside[0].Path, prefix) {
		n.inside = n.inside[1:]
	}
	n.inside = below(n.inside, n.base)
	if f == versionsForm {
		if f, why = layoutOf(n.inside, len(n.base)+1).form(false); why == "" && f != flatForm && f != resourcesForm {
			why = unknownForm
		}
	}
	return n, f, why
}

// isFileName reports whether name is the name of a file, not a path.
func isFileName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.Contains(name, "/")
}
