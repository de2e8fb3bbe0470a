package storecmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"narseal/cmd/narseal/internal/nixcli"
	"narseal/cmd/narseal/internal/scan"
	"narseal/cmd/narseal/internal/terminal"
)

// errIncomplete returns an error if the contents of a path have another size than Nix's database says.
func (r *run) errIncomplete(p *nixcli.Path, n scan.ArchiveSize) error {
	switch p.NarSize {
	case 0, n.Bytes, n.Bytes - n.Suffixes: // 0: Nix does not know it
		return nil
	}
	path := r.store.Path(p.Base)
	return terminal.Hint(fmt.Errorf("%s: %w: its archive has %d bytes, want %d", path, errModified, n.Bytes, p.NarSize),
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
	var nix *nixcli.CommandError // which says in words that a file is missing
	for _, err := range f.errs {
		if errors.Is(err, errModified) || errors.Is(err, os.ErrNotExist) || errors.As(err, &nix) {
			return true
		}
	}
	return false
}
