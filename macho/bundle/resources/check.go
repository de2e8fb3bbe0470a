package resources

import (
	"bytes"
	"fmt"
	"strings"

	"narseal/macho"
	"narseal/macho/internal/spelling"
)

// Kind is the kind of a File.
type Kind uint8

const (
	Regular Kind = iota
	Directory
	Symlink
)

// A File describes a file, symlink or directory of a bundle.
type File struct {
	Path string // relative to the base of the bundle
	Kind Kind
	Sums *Sums  // of a regular file; nil: it could not be read
	Link string // the target of a symlink
	Code []Code // of a regular file, one for each slice; nil: it is not signed
	// Executable is the name of the main executable that an Info.plist gives. Unclear says that CFBundle may find
	// another name in it.
	Executable string
	Unclear    bool
	// Touched marks a file that the caller has changed.
	Touched bool
	// Hashes are the hashes of all CodeDirectories of a regular file, if an Update needs them.
	Hashes []CodeHash
	// Name, if not zero, is the hash of the last element of Path. A List does not need it.
	Name spelling.Hash
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

// Equal reports whether the file has this digest of the hash type t, which may be any up to SHA-384.
func (s *Sums) Equal(t macho.HashType, digest []byte) bool { return bytes.Equal(s.of(t), digest) }

// Code identifies a signed slice.
type Code struct {
	CDHash     []byte // first 20 bytes of the hash of its CodeDirectory
	Identifier string
	AdHoc      bool // not signed by a certificate
}

// A Problem is a file that differs from its seal.
type Problem struct {
	macho.Resource
	Touched bool // the caller has changed it
}

// Texts of problems that an Update repairs.
const (
	Changed      = "changed"
	codeChanged  = "nested code changed"
	notCertified = "nested code is not signed by a certificate, which its requirement names"
)

// CanUpdate reports whether an Update repairs a problem.
func CanUpdate(problem string) bool {
	return problem == Changed || problem == codeChanged || problem == notCertified
}

// MaxProblems is the maximum number of problems that are named. One more problem then gives the number of the others.
const MaxProblems = 1000

// A Bundle holds the files that a List is compared with.
type Bundle struct {
	// Executable is the path of the main executable, which is not sealed.
	Executable string
	// HashTypes are the hash types of the main executable's CodeDirectories. Each file must have a digest of every
	// type.
	HashTypes []macho.HashType
	// Files are sorted in depth-first order, each directory before its contents.
	Files []File
	// Nested returns the slices of the main executable of Files[i], a directory that is a nested bundle.
	Nested func(i int) []Code
	// Unclear, if not nil, returns the reason why CFBundle may find another main executable in Files[i] than Nested, or
	// "".
	Unclear func(i int) string
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

// file checks a file. For a directory, it reports whether its contents must be checked, too.
func (c *check) file(i int, f *File) bool {
	if isExcluded(f.Path, "") {
		return false
	}
	if f.Kind == Symlink && isDSStore(f.Path) {
		c.seen[f.Path] = true
		c.report(f.Path, "a symlink, which no bundle may have under this name", f.Touched)
		return false
	}
	r, clear := c.find(f.Path, f.Kind == Directory)
	switch {
	case f.Kind == Directory && !hasDot(f.Path), r == nil && clear:
		return true
	case !clear:
		c.seen[f.Path] = true
		c.report(f.Path, "not checked: the list's rules do not say clearly whether it is sealed", f.Touched)
		return false
	case f.Kind == Directory && !r.isNested, f.Kind != Directory && r.omit:
		return true
	}
	c.seen[f.Path] = true
	s := c.files[f.Path]
	switch {
	case s == nil && c.old && f.Kind == Symlink: // the first version does not seal symlinks
	case s == nil:
		c.report(f.Path, "added", f.Touched)
	case s.isCode:
		if problem := c.nested(i, s.text); problem != "" {
			c.report(f.Path, problem, f.Touched || c.touchedBelow(i))
		}
	default:
		if problem := s.match(f, c.bundle.HashTypes...); problem != "" {
			c.report(f.Path, problem, f.Touched)
		}
	}
	return false
}

// isDSStore reports whether a path is one of a file of the Finder. ResourceBuilder::scan refuses a bundle with a symlink of
// this name before it looks at any rule.
func isDSStore(path string) bool {
	const name = ".DS_Store"
	last := path[strings.LastIndexByte(path, '/')+1:]
	return len(last) == len(name) && strings.EqualFold(last, name)
}

// nested describes how nested code violates its requirement. It returns "" if it does not.
func (c *check) nested(i int, requirement string) string {
	f := &c.bundle.Files[i]
	if f.Kind != Directory {
		return matchCode(requirement, f.Code)
	}
	if c.bundle.Unclear != nil {
		if why := c.bundle.Unclear(i); why != "" {
			return "nested code not checked: " + why
		}
	}
	return matchCode(requirement, c.bundle.Nested(i))
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

// match describes how a file differs from its seal. It returns "" if it does not. Like Security.framework, it compares
// the digests of all given types.
func (s *seal) match(f *File, types ...macho.HashType) string {
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
	for _, t := range types {
		if s.types&(1<<t) == 0 {
			return fmt.Sprintf("sealed without a digest of type %s, which the signature has", t)
		}
	}
	problem := ""
	s.each(func(t macho.HashType, sum []byte) {
		if !f.Sums.Equal(t, sum) {
			problem = Changed
		}
	})
	return problem
}
