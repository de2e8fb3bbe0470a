package bundle

import (
	"slices"
	"strings"

	"narseal/macho/bundle/resources"
	"narseal/macho/internal/spelling"
)

// versionMemory is the memory of a version of a framework, besides the names.
const versionMemory = 160

// addVersion records that b, a version of the framework o, was compared.
func (o *openBundle) addVersion(c *Checker, b *openBundle, name string) {
	executable, _, _ := b.executableName(c)
	if !c.take(versionMemory + len(name) + len(executable)) {
		return
	}
	if o.versions == nil {
		o.versions = map[string]string{}
	}
	o.versions[strings.Clone(name)] = executable
}

// besideVersions returns the reason why CFBundle may use another Info.plist or main executable than those of the version
// that was compared, or "". CFBundle looks for them beside Versions, where they usually are symlinks into the current
// version. Security.framework compares them with those of the version (checkMoved in its bundlediskrep.cpp).
func (b *openBundle) besideVersions(c *Checker) string {
	l, versions := b.layout(c), b.versions
	if l.has(currentVersion) {
		name := l.current()
		executable, compared := versions[name]
		if !compared {
			return "Versions/Current is no symlink to a version that was compared"
		}
		versions = map[string]string{name: executable}
	}
	places := []string{resourcesName}
	executables, unknown := map[spelling.Hash]bool{}, false
	add := func(name string) {
		unknown = unknown || name == ""
		executables[spelling.HashOf(name)] = true
	}
	if l.has(resourcesName) {
		for _, executable := range versions {
			add(executable)
		}
	} else {
		name, _, _ := cutLast(b.directoryName(c), ".")
		add(name)
		places = append(places, infoPlistName, macInfoPlist, phoneInfoPlist, executablesIn)
	}
	from, cut := c.tree.from(b.depth)
	for i := from; i < len(c.tree.files); i++ {
		f := &c.tree.files[i]
		path := f.Path[cut:]
		if strings.Contains(path, "/") || isNamesake(f, path, versions) {
			continue
		}
		if executables[f.Name] || unknown && f.Kind != resources.Directory || slices.Contains(places, known.Name(path)) {
			return "macOS may use " + path + " beside Versions, which is no symlink to that of the version"
		}
	}
	return ""
}

// isNamesake reports whether a file beside Versions is a symlink to the file of the same name in the current version, or in
// one of these.
func isNamesake(f *resources.File, name string, versions map[string]string) bool {
	dir, file, _ := cutLast(strings.TrimSuffix(strings.TrimPrefix(f.Link, "./"), "/"), "/")
	version, inside := strings.CutPrefix(dir, "Versions/")
	_, compared := versions[version]
	return f.Kind == resources.Symlink && inside && file == name && (version == "Current" || compared)
}

// current returns the name of the version that Versions/Current leads to, or "".
func (l layout) current() string {
	name := strings.TrimPrefix(strings.TrimSuffix(l[currentVersion][0].file.Link, "/"), "./")
	if !l.only(currentVersion, resources.Symlink) || !isFileName(name) {
		return ""
	}
	return name
}
