package storecmd

import (
	"context"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// heldPath is a path on which no Nix works while it is held.
type heldPath struct {
	path      *os.File // STORE/BASE.lock
	collector *os.File // STATE/gc.lock
}

// holdPath waits until no Nix works on a path, nor collects garbage, and keeps them from beginning to. It takes the locks
// that Nix takes:
//
//   - of the path, from before its old contents are removed until the new ones are registered (PathLocks in Nix's
//     src/libstore/unix/pathlocks.cc, LocalStore::addToStore);
//   - of the collector, which would take the new tree for garbage and delete files of it (LocalStore::collectGarbage in
//     src/libstore/gc.cc).
//
// The path's comes first: a Nix that holds it may collect garbage, and wait for that to end. Until the second one is
// taken, a collector may remove the file of the first, so that another Nix makes a new one.
func (r *repairRun) holdPath(ctx context.Context, base string) (*heldPath, error) {
	for {
		path, err := r.lockPath(ctx, base)
		if err != nil {
			return nil, err
		}
		h := &heldPath{path: path}
		if h.collector, err = r.holdCollector(ctx); err != nil {
			h.release()
			return nil, err
		}
		if hasName(path) {
			return h, nil
		}
		h.release()
	}
}

// release releases the locks. As in Nix, the lock file of the path is removed and gets a byte: a process that has it open
// and waits for the lock then sees that it is stale, and opens a new one.
func (h *heldPath) release() {
	if hasName(h.path) {
		_ = os.Remove(h.path.Name())
	}
	_, _ = h.path.WriteString("d")
	h.path.Close()
	if h.collector != nil {
		h.collector.Close()
	}
}

// lockPath takes Nix's lock of a path.
func (r *repairRun) lockPath(ctx context.Context, base string) (*os.File, error) {
	waiting := func() { r.Terminal.Warnf("waiting until Nix has finished its work on %s", r.store.Path(base)) }
	for ctx.Err() == nil {
		lock, err := os.OpenFile(filepath.Join(r.store.RealDir, base+".lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		if err := waitLock(ctx, lock, unix.LOCK_EX, waiting); err != nil {
			lock.Close()
			return nil, err
		}
		info, err := lock.Stat()
		if err != nil {
			lock.Close()
			return nil, err
		}
		named := hasName(lock)
		if named && info.Size() == 0 {
			return lock, nil
		}
		// The one who held it has removed it, or could not: then this one does.
		if named {
			err = os.Remove(lock.Name())
		}
		lock.Close()
		if err != nil {
			return nil, err
		}
	}
	return nil, ctx.Err()
}

// hasName reports whether an open file still has its name.
func hasName(f *os.File) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(f.Name())
	return err == nil && os.SameFile(open, named)
}

// holdCollector waits until Nix collects no garbage, and keeps it from beginning to, until the file is closed.
func (r *repairRun) holdCollector(ctx context.Context) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(r.store.StateDir, "gc.lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	err = waitLock(ctx, lock, unix.LOCK_SH, func() { r.Terminal.Warnf("waiting until Nix has collected its garbage") })
	if err != nil {
		lock.Close()
		return nil, err
	}
	return lock, nil
}
