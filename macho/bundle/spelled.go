package bundle

import (
	"strings"

	"golang.org/x/text/unicode/norm"

	"narseal/macho/bundle/resources"
)

// spelled returns the only file that the file systems of macOS find under a path where nothing has exactly this name, or
// nil: HFS+ and APFS ignore case and the form of Unicode. The first cut bytes of paths do not count.
func spelled(files []resources.File, cut int, path string) (found *resources.File) {
	dir, name := path[:strings.LastIndexByte(path, '/')+1], ""
	for i := range files {
		p := files[i].Path[cut:]
		if len(p) <= len(dir) || p[:len(dir)] != dir || strings.IndexByte(p[len(dir):], '/') >= 0 {
			continue
		}
		if name == "" {
			name = folded(path[len(dir):])
		}
		if strings.EqualFold(folded(p[len(dir):]), name) {
			if found != nil {
				return nil
			}
			found = &files[i]
		}
	}
	return found
}

// spelled returns the path of the file that macOS finds under a path from the root of a complete bundle, or the path
// itself.
func (b *openBundle) spelled(c *Checker, path string) string {
	if b.file(c, path) == nil {
		from, cut := c.tree.from(b.depth)
		if f := spelled(c.tree.files[from:], cut, path); f != nil {
			return f.Path[cut:]
		}
	}
	return path
}

// alike returns how many entries macOS may find at a path.
func alike(files []resources.File, cut int, path string) (n int) {
	slashes, text := strings.Count(path, "/"), folded(path)
	for i := range files {
		p := files[i].Path[cut:]
		if strings.Count(p, "/") == slashes && strings.EqualFold(folded(p), text) {
			n++
		}
	}
	return n
}

// ignored are characters that HFS+ ignores in names.
const ignored = "\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u206a\u206b\u206c\u206d\u206e\u206f\ufeff"

// folded returns a path such that macOS takes two paths for one if strings.EqualFold does.
func folded(path string) string {
	for i := range len(path) {
		if path[i] >= 0x80 {
			drop := func(r rune) rune {
				if strings.ContainsRune(ignored, r) {
					return -1
				}
				return r
			}
			return norm.NFD.String(strings.Map(drop, path))
		}
	}
	return path
}
