package bundle

import (
	"strings"

	"golang.org/x/text/unicode/norm"

	"narseal/macho/bundle/resources"
	"narseal/macho/internal/spelling"
)

// spelled returns the file that the file systems of macOS find under path if no file has exactly this name. It returns nil
// unless there is exactly one such file, which all of them find. The first cut bytes of the files' paths are ignored.
func spelled(files []resources.File, cut int, path string) (found *resources.File) {
	dir := path[:strings.LastIndexByte(path, '/')+1]
	name, hash := spelling.Of(path[len(dir):]), spelling.HashOf(path[len(dir):])
	for i := range files {
		p := files[i].Path[cut:]
		if differs(&files[i], hash) || len(p) <= len(dir) || p[:len(dir)] != dir || strings.IndexByte(p[len(dir):], '/') >= 0 {
			continue
		}
		if name.Matches(p[len(dir):]) {
			if found != nil {
				return nil
			}
			found = &files[i]
		}
	}
	if found == nil || !strings.EqualFold(norm.NFD.String(found.Path[cut+len(dir):]), norm.NFD.String(path[len(dir):])) {
		return nil // only some of them find it
	}
	return found
}

// spelled returns the path of the file that macOS finds under path, or path itself. Both are relative to the root of a
// complete bundle.
func (b *openBundle) spelled(c *Checker, path string) string {
	if b.file(c, path) == nil {
		from, cut := c.tree.from(b.depth)
		if f := spelled(c.tree.files[from:], cut, path); f != nil {
			return f.Path[cut:]
		}
	}
	return path
}

// excluded returns the path that Security.framework leaves out of the comparison with the list, for this executable: of the
// main one, that which its name in the Info.plist gives, in whatever letters the file's name is
// (BundleDiskRep::adjustResources). The file itself then counts like any other. Forms of Unicode make no difference, since
// macOS may convert the path.
func (b *openBundle) excluded(c *Checker, executable string) string {
	name, named, _ := b.executableName(c)
	dir, file := splitPath(executable)
	if !named || spelling.HashOf(file) != spelling.HashOf(name) || norm.NFD.String(file) == norm.NFD.String(name) {
		return executable
	}
	if dir != "" {
		name = dir + "/" + name
	}
	if b.spelled(c, name) == executable {
		return name
	}
	return executable
}

// differs reports whether macOS takes the name of a file for another one, by their hashes: names are compared often, and
// each of their characters takes a while.
func differs(f *resources.File, hash spelling.Hash) bool { return f.Name != 0 && f.Name != hash }

// alike returns the number of entries that macOS may find at path, or 2 if there are more.
func alike(files []resources.File, cut int, path string) (n int) {
	want, hash := spelling.Of(path), spelling.HashOf(path[strings.LastIndexByte(path, '/')+1:])
	for i := 0; i < len(files) && n < 2; i++ {
		if !differs(&files[i], hash) && want.Matches(files[i].Path[cut:]) {
			n++
		}
	}
	return n
}
