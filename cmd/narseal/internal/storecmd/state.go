package storecmd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"narseal/cmd/narseal/internal/nixcli"
	"narseal/nar/storepath"
)

// A staging directory holds the replacements of paths for Nix to import, one directory for each path (see staged). The
// run, and each Nix command that it starts, hold its lock. When all of them have ended, for whatever reason, the next
// run completes the staged repairs.
//
// Its contents become contents of the store, so it must belong to the user, and no other user may be able to write to
// it.
type staging struct {
	dir  string
	lock *os.File
}

// userState returns the state directory of a user who cannot write beside Nix's database.
func userState() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "narseal"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", errors.New("neither XDG_STATE_HOME nor HOME is set: name a directory by --state")
	}
	return filepath.Join(home, ".local", "state", "narseal"), nil
}

// stateDir returns the directory for staging. The default is beside Nix's database, where every user who may repair the
// store finds it. It does not depend on HOME, which sudo may or may not set.
func stateDir(named string, s *nixcli.Store) (string, error) {
	if named != "" {
		return filepath.Abs(named)
	}
	if unix.Access(s.StateDir, unix.W_OK) == nil {
		return filepath.Join(s.StateDir, "narseal"), nil
	}
	return userState()
}

// openStaging opens the staging directory of a store, and waits until no other run uses it. It calls waiting if it has
// to wait for long.
func openStaging(ctx context.Context, dir string, s *nixcli.Store, waiting func()) (*staging, error) {
	st := &staging{dir: stagingDir(dir, s)}
	for {
		err := st.open(dir)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			continue // another run, which has ended, removed the empty directory
		}
		if err != nil {
			return nil, fmt.Errorf("state: %w", err)
		}
		if err := waitLock(ctx, st.lock, unix.LOCK_EX, waiting); err != nil {
			st.lock.Close()
			return nil, fmt.Errorf("state: %w", err)
		}
		if isNamed(st.lock) {
			return st, nil
		}
		st.lock.Close()
	}
}

// open creates the directories, and opens the lock in them.
func (st *staging) open(dir string) (err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := checkOwn(dir); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if err := os.Mkdir(st.dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := checkOwn(st.dir); err != nil {
		return fmt.Errorf("%s: %w", st.dir, err)
	}
	st.lock, err = os.OpenFile(filepath.Join(st.dir, "lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	return err
}

// lockStore waits until no other run changes this store, even with another staging directory, and returns the lock.
func (r *repairRun) lockStore(ctx context.Context) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(r.store.StateDir, "narseal.lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := waitLock(ctx, lock, unix.LOCK_EX, r.warnWaiting); err != nil {
		lock.Close()
		return nil, err
	}
	return lock, nil
}

func (r *repairRun) warnWaiting() {
	r.Terminal.Warnf("waiting for another narseal store repair, or for the Nix that it started, to finish")
}

// locks returns the locks that every Nix command of the run inherits.
func (r *repairRun) locks() []*os.File {
	if r.storeLock == nil {
		return []*os.File{r.staging.lock}
	}
	return []*os.File{r.staging.lock, r.storeLock}
}

// isNamed reports whether an open file still has its name. The last run that held the lock may have removed it.
func isNamed(f *os.File) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(f.Name())
	return err == nil && os.SameFile(open, named)
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

// stagingDir returns the staging directory of a store in a state directory.
func stagingDir(dir string, s *nixcli.Store) string {
	state := s.StateDir
	if real, err := filepath.EvalSymlinks(state); err == nil {
		state = real // it may have several names
	}
	id := sha256.Sum256([]byte(s.Dir + "\n" + state))
	return filepath.Join(dir, "store-"+hex.EncodeToString(id[:8]))
}

// waiting returns the paths for which an earlier run staged replacements. It is empty if the user cannot read the
// directory.
func waiting(dir string, s *nixcli.Store) map[string]bool {
	list, _ := os.ReadDir(stagingDir(dir, s))
	bases := map[string]bool{}
	for _, e := range list {
		if e.IsDir() && storepath.CheckBaseName(e.Name()) == nil {
			bases[e.Name()] = true
		}
	}
	return bases
}

// checkOwn returns an error if another user can write to a directory.
func checkOwn(dir string) error {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return err
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return errors.New("not a directory")
	case int(st.Uid) != os.Geteuid():
		return fmt.Errorf("it belongs to user %d, want %d: another user must not own the staged paths", st.Uid, os.Geteuid())
	case st.Mode&0o022 != 0:
		return fmt.Errorf("its mode is %#o: other users can write to it", st.Mode&0o7777)
	}
	return nil
}

// close releases the lock, and removes the directory if it is empty.
func (st *staging) close() {
	if left, err := os.ReadDir(st.dir); err == nil && len(left) == 1 {
		_ = os.Remove(st.lock.Name())
		_ = os.Remove(st.dir)
		_ = os.Remove(filepath.Dir(st.dir))
	}
	st.lock.Close()
}

// newPrefix begins the names of incomplete directories.
const newPrefix = ".new-"

// entries returns the paths with complete replacements, and removes incomplete ones.
func (st *staging) entries() ([]string, error) {
	list, err := os.ReadDir(st.dir)
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	var bases []string
	for _, e := range list {
		switch name := e.Name(); {
		case strings.HasPrefix(name, newPrefix):
			if err := os.RemoveAll(filepath.Join(st.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("state: %w", err)
			}
		case e.IsDir() && storepath.CheckBaseName(name) == nil:
			bases = append(bases, name)
		}
	}
	return bases, nil
}
