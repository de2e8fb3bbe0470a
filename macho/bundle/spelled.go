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
	name := spelling.Of(path[len(dir):])
	for i := range files {
		p := files[i].Path[cut:]
		if len(p) <= len(dir) || p[:len(dir)] != dir || strings.IndexByte(p[len(dir):], '/') >= 0 {
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

// alike returns the number of entries that macOS may find at path.
func alike(files []resources.File, cut int, path string) (n int) {
	want := spelling.Of(path)
	for i := range files {
		if want.Matches(files[i].Path[cut:]) {
			n++
		}
	}
	return n
}
