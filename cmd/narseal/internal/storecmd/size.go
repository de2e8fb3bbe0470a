package storecmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"narseal/cmd/narseal/internal/nixcli"
	"narseal/cmd/narseal/internal/scan"
	"narseal/cmd/narseal/internal/terminal"
)

// archiveSize adds up the length of a tree's archive from its names, symlink targets and file sizes. Nix's database has the
// same number as narSize. So a tree that lost files, or parts of them, is found although its files are not read.
type archiveSize struct {
	bytes int64
	// suffixes is how much shorter the archive is without Nix's suffixes for names that differ only by case. Nix removes them
	// if it is configured to, by default on macOS.
	suffixes int64
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

// add adds what a scan found.
func (n *archiveSize) add(res *scan.Result) error {
	if res.Depth() == 0 {
		n.bytes += longWordSize // nix-archive-1
	} else {
		n.addName(res.Name)
	}
	switch res.Type {
	case 0:
		n.bytes += nodeSize + wordSize + stringSize(res.Size)
		if res.Mode&unix.S_IXUSR != 0 {
			n.bytes += executableSize
		}
	case fs.ModeDir:
		n.bytes += directorySize
	case fs.ModeSymlink:
		target, err := res.Readlink()
		if err != nil {
			return err
		}
		n.bytes += symlinkSize(target)
	}
	return nil
}

func (n *archiveSize) addName(name string) {
	size := stringSize(int64(len(name)))
	n.bytes += entrySize + size
	n.suffixes += size - stringSize(int64(len(withoutCaseHack(name))))
}

func symlinkSize(target string) int64 {
	return nodeSize + wordSize + stringSize(int64(len(target)))
}

// errIncomplete returns an error if the contents of a path have another size than Nix's database says.
func (r *run) errIncomplete(p *nixcli.Path, n archiveSize) error {
	switch p.NarSize {
	case 0, n.bytes, n.bytes - n.suffixes: // 0: Nix does not know it
		return nil
	}
	path := r.store.Path(p.Base)
	return terminal.Hint(fmt.Errorf("%s: %w: its archive has %d bytes, want %d", path, errModified, n.bytes, p.NarSize),
		"if narseal store repair was stopped while it replaced the path, it finishes if the same user runs it again, with the same "+
			"--state; nix-store --repair-path "+path+" brings back what it was")
}

// How long a run waits for paths that are being removed or replaced by somebody else.
const (
	settlePause = 100 * time.Millisecond
	settlePath  = 10 // pauses for one path
	settleAll   = 30 // pauses for all
)

// settle waits a while for a path to disappear or to change, and reports whether it is worth another look.
func (r *run) settle(ctx context.Context, f *pathFound, tries int) bool {
	if tries >= settlePath || !f.isUnsettled() || r.store.IsGone(f.Base) || atomic.AddInt32(&r.pauses, 1) > settleAll {
		return false
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(settlePause):
		return true
	}
}

// isUnsettled reports whether a path looks like one that somebody removes or replaces.
func (f *pathFound) isUnsettled() bool {
	for _, err := range f.errs {
		if errors.Is(err, errModified) || errors.Is(err, os.ErrNotExist) {
			return true
		}
	}
	return false
}
