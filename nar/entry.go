package nar

import (
	"bytes"
	"errors"
	"fmt"

	nixnar "github.com/nix-community/go-nix/pkg/nar"
)

// Limits of the format. Nix 2.35 has the first two of the file system
// (NAME_MAX, PATH_MAX less the NUL) and refuses more than 64 levels, which
// older versions do not; MaxDepth only bounds the memory that a hostile
// archive can take.
const (
	MaxName   = 255   // bytes of an entry's name
	MaxTarget = 4095  // bytes of a symlink's target
	MaxDepth  = 16384 // directories inside each other
)

// An Entry is one node of an archive: a regular file, a directory or a
// symlink.
type Entry struct {
	// Depth is the number of directories around the entry: 0 for the
	// archive's root, which is the only entry without a Name.
	Depth int
	Name  []byte
	Type  nixnar.NodeType
	// Executable and Size (the contents' length in bytes) are of regular
	// files only, Target is of symlinks only.
	Executable bool
	Size       int64
	Target     []byte
}

var (
	errNameEmpty  = errors.New("name is empty")
	errNameDots   = errors.New("name is . or ..")
	errNameSlash  = errors.New("name holds a slash")
	errNameNUL    = errors.New("name holds a NUL byte")
	errTargetNone = errors.New("target is empty")
	errTargetNUL  = errors.New("target holds a NUL byte")
)

// checkName says why name cannot name a directory's entry.
func checkName(name []byte) error {
	switch {
	case len(name) == 0:
		return errNameEmpty
	case len(name) > MaxName:
		return fmt.Errorf("name has %d bytes, at most %d are allowed", len(name), MaxName)
	case name[0] == '.' && (len(name) == 1 || len(name) == 2 && name[1] == '.'):
		return errNameDots
	case bytes.IndexByte(name, '/') >= 0:
		return errNameSlash
	case bytes.IndexByte(name, 0) >= 0:
		return errNameNUL
	}
	return nil
}

// checkTarget says why target cannot be a symlink's target.
func checkTarget(target []byte) error {
	switch {
	case len(target) == 0:
		return errTargetNone
	case len(target) > MaxTarget:
		return fmt.Errorf("target has %d bytes, at most %d are allowed", len(target), MaxTarget)
	case bytes.IndexByte(target, 0) >= 0:
		return errTargetNUL
	}
	return nil
}

// A FormatError says where an archive, or what a caller asked of a Writer,
// breaks the format.
type FormatError struct {
	Op     string // "read" or "write"
	Path   string // of the entry, "/" for the root; "" outside any entry
	Offset int64  // bytes from the start of the stream
	Err    error
}

func (e *FormatError) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("nar: %s: offset %d: %v", e.Op, e.Offset, e.Err)
	}
	return fmt.Sprintf("nar: %s %q: offset %d: %v", e.Op, e.Path, e.Offset, e.Err)
}

func (e *FormatError) Unwrap() error { return e.Err }

// trail is the stack of names from the root to the entry at hand, with what
// is needed to tell whether a directory's names increase. The names lie end
// to end in one buffer, so that an entry costs no allocation.
type trail struct {
	names []byte
	ends  []int // ends[d] is where the name of depth d+1 ends in names
}

// dirs is the number of directories that are open.
func (t *trail) dirs() int { return len(t.ends) }

// last is the name of the latest entry of the innermost open directory.
func (t *trail) last() []byte {
	d := len(t.ends)
	if d == 0 {
		return nil
	}
	start := 0
	if d > 1 {
		start = t.ends[d-2]
	}
	return t.names[start:t.ends[d-1]]
}

// enter opens a directory.
func (t *trail) enter() { t.ends = append(t.ends, len(t.names)) }

// leave closes the innermost directory.
func (t *trail) leave() {
	t.ends = t.ends[:len(t.ends)-1]
	if d := len(t.ends); d > 0 {
		t.names = t.names[:t.ends[d-1]]
	} else {
		t.names = t.names[:0]
	}
}

// set makes name the latest of the innermost directory.
func (t *trail) set(name []byte) {
	d := len(t.ends)
	start := 0
	if d > 1 {
		start = t.ends[d-2]
	}
	t.names = append(t.names[:start], name...)
	t.ends[d-1] = len(t.names)
}

// path is the entry's path from the archive's root.
func (t *trail) path() string {
	if len(t.names) == 0 {
		return "/"
	}
	b := make([]byte, 0, len(t.names)+len(t.ends))
	start := 0
	for _, end := range t.ends {
		if end == start {
			break
		}
		b = append(b, '/')
		b = append(b, t.names[start:end]...)
		start = end
	}
	return string(b)
}
