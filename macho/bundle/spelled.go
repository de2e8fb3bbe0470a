package bundle

import (
	"strings"

	"golang.org/x/text/unicode/norm"

	"narseal/macho/bundle/resources"
)

// spelled returns the file that the file systems of macOS find under path if no file has exactly this name. HFS+ and
// APFS ignore case and the form of Unicode. It returns nil unless there is exactly one such file. The first cut bytes
// of the files' paths are ignored.
func spelled(files []resources.File, cut int, path string) (found *resources.File) {
	dir, name := path[:strings.LastIndexByte(path, '/')+1], ""
	for i := range files {
		p := files[i].Path[cut:]
		if len(p) <= len(dir) || p[:len(dir)] != dir || strings.IndexByte(p[len(dir):], '/') >= 0 {
			continue
		}
		if name == "" {
			name = norm.NFD.String(path[len(dir):])
		}
		if strings.EqualFold(norm.NFD.String(p[len(dir):]), name) {
			if found != nil {
				return nil
			}
			found = &files[i]
		}
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
