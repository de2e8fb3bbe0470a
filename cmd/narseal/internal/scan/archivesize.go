package scan

import (
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"
)

// An ArchiveSize adds up the length of a tree's archive from its names, symlink targets and file sizes. So a tree that lost a
// file, or 8 bytes of one, is found although its files are not read. An archive pads files to a multiple of 8 bytes.
type ArchiveSize struct {
	Bytes int64
	// Suffixes is how much shorter the archive is without Nix's suffixes for names that differ only by case. Nix removes them
	// if it is configured to, by default on macOS.
	Suffixes int64

	target []byte // is read into it
}

// stringSize returns the length of a string in an archive: a length field of 8 bytes, and the padded string.
func stringSize(n int64) int64 { return 8 + (n+7)/8*8 }

// The lengths of what an archive consists of.
const (
	wordSize       = 8 + 8                     // a word of at most 8 letters
	longWordSize   = 8 + 16                    // nix-archive-1, directory, executable
	nodeSize       = 4 * wordSize              // ( type regular )
	directorySize  = 3*wordSize + longWordSize // ( type directory )
	entrySize      = 5 * wordSize              // entry ( name node ), without the name and the node
	executableSize = longWordSize + 8          // executable, and an empty string
)

// Add adds what a scan found.
func (n *ArchiveSize) Add(r *Result) error {
	if r.Depth() == 0 {
		n.Bytes += longWordSize // nix-archive-1
	} else {
		n.addName(r.Name)
	}
	switch r.Type {
	case 0:
		n.Bytes += nodeSize + wordSize + stringSize(r.Size)
		if r.Mode&unix.S_IXUSR != 0 {
			n.Bytes += executableSize
		}
	case fs.ModeDir:
		n.Bytes += directorySize
	case fs.ModeSymlink:
		if n.target == nil {
			n.target = make([]byte, maxTarget+1)
		}
		target, err := r.readlink(n.target)
		if err != nil {
			return err
		}
		n.Bytes += symlinkSize(len(target))
	}
	return nil
}

func (n *ArchiveSize) addName(name string) {
	size := stringSize(int64(len(name)))
	n.Bytes += entrySize + size
	n.Suffixes += size - stringSize(int64(len(WithoutCaseHack(name))))
}

func symlinkSize(target int) int64 { return nodeSize + wordSize + stringSize(int64(target)) }

// SymlinkArchive is the size of the archive of a symlink.
func SymlinkArchive(target string) ArchiveSize {
	return ArchiveSize{Bytes: longWordSize + symlinkSize(len(target))}
}

// caseHackSuffix is the suffix that Nix on macOS adds, with a number, to names that differ from others only by case
// (caseHackSuffix in Nix's src/libutil/archive.cc).
const caseHackSuffix = "~nix~case~hack~"

// WithoutCaseHack returns a path without these suffixes.
func WithoutCaseHack(path string) string {
	if !strings.Contains(path, caseHackSuffix) {
		return path
	}
	names := strings.Split(path, "/")
	for i, name := range names {
		names[i], _, _ = strings.Cut(name, caseHackSuffix)
	}
	return strings.Join(names, "/")
}
