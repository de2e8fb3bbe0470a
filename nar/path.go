package nar

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Path is the path of an entry in an archive, or in a tree of files. Paths share the names of common directories, so
// that keeping one costs no more than its last name, however deep it is. String builds the text. The zero Path has no
// text.
type Path struct{ last *pathName }

type pathName struct {
	parent *pathName
	name   string
	size   int // of the text, in bytes; 0 at the root of an archive
}

// rootName is the root of every archive.
var rootName = &pathName{}

// NewPath returns the path with this text. The text of an archive's root is "/".
func NewPath(text string) Path {
	switch text {
	case "":
		return Path{}
	case "/":
		return Path{rootName}
	}
	return Path{&pathName{name: text, size: len(text)}}
}

// Join returns the path of the entry of this name in the directory p.
func (p Path) Join(name string) Path {
	return Path{p.last.join(name)}
}

func (p *pathName) join(name string) *pathName {
	if p == nil {
		return &pathName{name: name, size: len(name)}
	}
	return &pathName{p, name, p.size + 1 + len(name)}
}

// Same reports whether p and o are the same entry of a directory that they share. It does not compare texts: equal
// paths that were built separately, from the first name on, are not the same.
func (p Path) Same(o Path) bool {
	return p == o || p.last != nil && o.last != nil && *p.last == *o.last
}

// Len returns the length of the text in bytes.
func (p Path) Len() int {
	if p.last == rootName {
		return 1
	}
	if p.last == nil {
		return 0
	}
	return p.last.size
}

// String returns the text: "/", "/bin", "/bin/sh".
func (p Path) String() string { return p.tail(p.Len()) }

// Pieces calls f with the parts of the text, from the first to the last: names and slashes.
func (p Path) Pieces(f func(piece string)) {
	var names []string
	for at := p.last; at != nil; at = at.parent {
		names = append(names, at.name)
	}
	if p.last == rootName {
		f("/")
	}
	for i, name := range slices.Backward(names) {
		if i < len(names)-1 {
			f("/")
		}
		f(name)
	}
}

// MarshalText returns the text.
func (p Path) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// Short returns the text for display: for a path of more than 1,024 bytes only the end, which is more informative, and for
// one that has to be escaped the end of a path of more than 256 bytes. The cost does not depend on the length of the text.
func (p Path) Short() string {
	end := p.end(maxShort)
	if !utf8.ValidString(end) || strings.ContainsFunc(end, func(r rune) bool { return !unicode.IsPrint(r) }) {
		end = p.end(maxShort / len(`\xff`))
	}
	return end
}

// maxShort is PATH_MAX on macOS: no program there can open a file by a longer path.
const maxShort = 1024

// end returns the text, or the whole names in its last n bytes if it is longer.
func (p Path) end(n int) string {
	if p.Len() <= n {
		return p.String()
	}
	end := p.tail(n)
	return "…" + end[max(strings.IndexByte(end, '/'), 0):]
}

// tail returns the last n bytes of the text, or all of it.
func (p Path) tail(n int) string {
	n = min(n, p.Len())
	if p.last == rootName {
		return "/"[:n]
	}
	b := make([]byte, n)
	for at := p.last; n > 0; at = at.parent {
		name := at.name[max(len(at.name)-n, 0):]
		n -= copy(b[n-len(name):], name)
		if n > 0 {
			n--
			b[n] = '/'
		}
	}
	return string(b)
}
