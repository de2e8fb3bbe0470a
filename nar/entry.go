package nar

import (
	"bytes"
	"errors"
	"fmt"
	"math"

	nixnar "github.com/nix-community/go-nix/pkg/nar"
)

// Limits of the format. The first two are those of the file system (NAME_MAX, PATH_MAX without its NUL), as in Nix 2.35.
// That version refuses more than 64 levels, which older versions do not; MaxDepth only bounds the memory that a hostile
// archive can take.
const (
	MaxName   = 255   // bytes of an entry's name
	MaxTarget = 4095  // bytes of a symlink's target
	MaxDepth  = 16384 // nested directories
)

// maxSize is the size of the largest contents whose end, with padding, fits into an int64.
const maxSize = math.MaxInt64 - 7

// The types of an entry, as go-nix defines them.
const (
	TypeRegular   = nixnar.TypeRegular
	TypeDirectory = nixnar.TypeDirectory
	TypeSymlink   = nixnar.TypeSymlink
)

// An Entry is one node of an archive: a regular file, a directory or a symlink.
type Entry struct {
	// Depth is the number of directories around the entry. It is 0 for the archive's root, which is the only entry
	// without a Name.
	Depth int
	Name  []byte
	Type  nixnar.NodeType
	// Executable and Size (the length of the contents in bytes) are for regular files only, Target is for symlinks only.
	Executable bool
	Size       int64
	Target     []byte
}

var (
	errNameEmpty  = errors.New("name is empty")
	errNameDots   = errors.New(`name is "." or ".."`)
	errNameSlash  = errors.New("name contains a slash")
	errNameNUL    = errors.New("name contains a NUL byte")
	errTargetNone = errors.New("target is empty")
	errTargetNUL  = errors.New("target contains a NUL byte")
)

// checkName returns why name cannot be the name of an entry, or nil.
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

// checkTarget returns why target cannot be a symlink's target, or nil.
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
