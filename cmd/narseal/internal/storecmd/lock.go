package storecmd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"narseal/cmd/narseal/internal/command"
	"narseal/cmd/narseal/internal/nixcli"
)

// lockStore waits until no other run changes this store, even with another staging directory, and returns the lock.
func lockStore(ctx context.Context, s *nixcli.Store, waiting func()) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(s.StateDir, "narseal.lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := waitLock(ctx, lock, unix.LOCK_EX, waiting); err != nil {
		lock.Close()
		return nil, err
	}
	return lock, nil
}

func (r *repairRun) warnWaiting() { warnWaiting(r.Env) }

func warnWaiting(e *command.Env) {
	e.Terminal.Warnf("waiting for another narseal store repair, or for the Nix that it started, to finish")
}

// locks returns the locks that every Nix command of the run inherits.
func (r *repairRun) locks() []*os.File {
	if r.storeLock == nil {
		return []*os.File{r.staging.lock}
	}
	return []*os.File{r.staging.lock, r.storeLock}
}

// waitLock locks a file, and waits while other processes hold the lock. It calls waiting if that takes long.
func waitLock(ctx context.Context, f *os.File, how int, waiting func()) error {
	for begin := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if err != unix.EWOULDBLOCK && err != unix.EINTR {
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if waiting != nil && time.Since(begin) > time.Second {
			waiting()
			waiting = nil
		}
	}
}
