package resources

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"narseal/macho"
)

// Kind says what a File is.
type Kind uint8

const (
	Regular Kind = iota
	Directory
	Symlink
)

// A File describes what lies at a path of a bundle.
type File struct {
	Path string // from the base of the bundle
	Kind Kind
	Sums *Sums  // of a regular file; nil: it could not be read
	Link string // the target of a symlink
	Code []Code // of a regular file, one for each slice; nil: it is not signed
	// Executable is the name of the main executable in the file, if that is an Info.plist.
	Executable string
	// Touched marks a file that the caller has changed.
	Touched bool
	// Hashes are the hashes of all CodeDirectories of a regular file, if an Update needs them.
	Hashes []CodeHash
	// MadeAdhoc marks code that the caller made ad-hoc signed.
	MadeAdhoc bool
}

// Sums holds the digests of a file that a list may contain.
type Sums struct {
	SHA1   [20]byte
	SHA256 [32]byte
	SHA384 [48]byte
}

func (s *Sums) of(t macho.HashType) []byte {
	switch t {
	case macho.SHA1:
		return s.SHA1[:]
	case macho.SHA256:
		return s.SHA256[:]
	case macho.SHA256Truncated:
		return s.SHA256[:20]
	}
	return s.SHA384[:]
}

// Equal reports whether the file has this digest of a hash type up to SHA-384.
func (s *Sums) Equal(t macho.HashType, digest []byte) bool { return bytes.Equal(s.of(t), digest) }

// Code identifies a signed slice.
type Code struct {
	CDHash     []byte // the first 20 bytes of the hash of its CodeDirectory
	Identifier string
}

// A Problem is a file that differs from its seal.
type Problem struct {
	macho.Resource
	Touched bool // the caller has changed it
}

// Problems that an Update repairs.
const (
	Changed     = "changed"
	CodeChanged = "nested code changed"
)

// MaxProblems is how many problems are named. One more problem gives the number of the others.
const MaxProblems = 1000

// A Bundle holds the files that a List is compared with.
type Bundle struct {
	// Executable is the path of the main executable, which is not sealed.
	Executable string
	// Files are in depth-first order, each directory before its contents.
	Files []File
	// Nested returns the slices of the main executable of the bundle that Files[i], a directory, is.
	Nested func(i int) []Code
}

// Check compares the files of a bundle with the list, and returns the problems, sorted by path.
func (l *List) Check(b *Bundle) []Problem {
	c := &check{List: l, bundle: b, seen: map[string]bool{}}
	for i := 0; i < len(b.Files); {
		f := &b.Files[i]
		i++
		if c.file(i-1, f) || f.Kind != Directory {
			continue
		}
		for i < len(b.Files) && strings.HasPrefix(b.Files[i].Path, f.Path) && b.Files[i].Path[len(f.Path)] == '/' {
			i++
		}
	}
	touched := slices.ContainsFunc(b.Files, func(f File) bool { return f.Touched })
	for path, s := range l.files {
		if !s.optional && !c.seen[path] {
			c.report(path, "missing", touched)
		}
	}
	slices.SortFunc(c.found, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Problem, b.Problem))
	})
	if more := len(c.found) - MaxProblems; more > 0 {
		touched := slices.ContainsFunc(c.found[MaxProblems:], func(p Problem) bool { return p.Touched })
		last := Problem{macho.Resource{Problem: fmt.Sprintf("%d more files do not match", more)}, touched}
		c.found = append(c.found[:MaxProblems:MaxProblems], last)
	}
	return c.found
}

type check struct {
	*List
	bundle *Bundle
	seen   map[string]bool
	found  []Problem
}

func (c *check) report(path, problem string, touched bool) {
	c.found = append(c.found, Problem{macho.Resource{Path: path, Problem: problem}, touched})
}

// file checks a file. If it is a directory, file reports whether its contents are checked, too.
func (c *check) file(i int, f *File) bool {
	if isExcluded(f.Path, c.bundle.Executable) {
		return false
	}
	r := c.find(f.Path)
	if r == nil || r.omit {
		return true
	}
	if f.Kind == Directory {
		if !r.isNested || !hasDot(f.Path) {
			return true
		}
	}
	c.seen[f.Path] = true
	s := c.files[f.Path]
	switch {
	case s == nil:
		c.report(f.Path, "added", f.Touched)
	case s.isCode:
		code := f.Code
		if f.Kind == Directory {
			code = c.bundle.Nested(i)
		}
		if problem := matchCode(s.text, code); problem != "" {
			c.report(f.Path, problem, f.Touched || c.touchedBelow(i))
		}
	default:
		if problem := s.match(f); problem != "" {
			c.report(f.Path, problem, f.Touched)
		}
	}
	return false
}

// touchedBelow reports whether the caller has changed a file in the directory Files[i].
func (c *check) touchedBelow(i int) bool {
	dir := c.bundle.Files[i].Path + "/"
	for _, f := range c.bundle.Files[i+1:] {
		if !strings.HasPrefix(f.Path, dir) {
			return false
		}
		if f.Touched {
			return true
		}
	}
	return false
}

// match says how a file differs from what was sealed.
func (s *seal) match(f *File) string {
	switch {
	case f.Kind == Directory:
		return "a directory, sealed as a file"
	case s.isLink && f.Kind != Symlink:
		return "a file, sealed as a symlink"
	case !s.isLink && f.Kind == Symlink:
		return "a symlink, sealed as a file"
	case s.isLink && s.text != f.Link:
		return "symlink changed"
	case s.isLink:
		return ""
	case f.Sums == nil:
		return "not checked: it could not be read"
	}
	problem := ""
	s.each(func(t macho.HashType, sum []byte) {
		if !f.Sums.Equal(t, sum) {
			problem = Changed
		}
	})
	return problem
}

// These are compiled when they are first needed: few runs have a bundle.
var (
	onlyHashes   = lazyRegexp(`^\s*\(?\s*cdhash H"[0-9a-fA-F]*"(\s+or\s+cdhash H"[0-9a-fA-F]*")*\s*\)?\s*$`)
	oneHash      = lazyRegexp(`H"([0-9a-fA-F]*)"`)
	anIdentifier = lazyRegexp(`(?:^|[\s(])identifier\s+(?:"([^"\\]*)"|([A-Za-z0-9_.]+))`)
)

func lazyRegexp(s string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(s) })
}

// matchCode says how nested code violates its requirement. In a requirement on a certificate, only the identifier is
// checked.
func matchCode(requirement string, code []Code) string {
	if len(code) == 0 {
		return "nested code is not signed"
	}
	if onlyHashes().MatchString(requirement) {
		wanted := map[string]bool{}
		for _, m := range oneHash().FindAllStringSubmatch(requirement, -1) {
			wanted[strings.ToLower(m[1])] = true
		}
		for _, slice := range code {
			if !wanted[hex.EncodeToString(slice.CDHash)] {
				return CodeChanged
			}
		}
		return ""
	}
	m := anIdentifier().FindStringSubmatch(requirement)
	if m == nil {
		return "nested code not checked: its requirement names no cdhash and no identifier"
	}
	for _, slice := range code {
		if slice.Identifier != m[1]+m[2] {
			return "nested code has another identifier"
		}
	}
	return ""
}
