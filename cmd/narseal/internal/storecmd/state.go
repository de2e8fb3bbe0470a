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
	"narseal/cmd/narseal/internal/ownership"
	"narseal/nar/storepath"
)

// A staging directory holds the replacements of paths for Nix to import, one directory for each path (see staged). The
// run, and each Nix command that it starts, hold its lock. When all of them have ended, for whatever reason, the next
// run completes the staged repairs.
//
// Its contents become contents of the store, so it must belong to the user, and no other user may be able to write to
// it.
type staging struct {
	dir    string // its name, without symlinks
	root   *os.Root
	lock   *os.File
	owners ownership.Owners
	// made means that the state directory goes with the last staging directory in it: narseal made it.
	made bool
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
		return defaultDir(s), nil
	}
	return userState()
}

// maxTries is how often a run tries to open a staging directory that is missing: another run may just have removed it.
const maxTries = 100

// openStaging opens the staging directory of a store, and waits until no other run uses it. It calls waiting if it has
// to wait for long.
func openStaging(ctx context.Context, dir string, s *nixcli.Store, waiting func()) (*staging, error) {
	for tries := 1; ; tries++ {
		st, err := makeStaging(dir, s)
		if err != nil {
			// Another run, which has ended, may have removed the empty directory.
			again := errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist)
			if !again || tries == maxTries {
				return nil, fmt.Errorf("state: %w", err)
			}
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		if err := waitLock(ctx, st.lock, unix.LOCK_EX, waiting); err != nil {
			st.release()
			return nil, fmt.Errorf("state: %w", err)
		}
		if st.isNamed() {
			return st, nil
		}
		st.release()
		tries = 0 // it is this run that was late
	}
}

// makeStaging creates the directories, and opens the last one and its lock.
func makeStaging(dir string, s *nixcli.Store) (*staging, error) {
	o := ownership.Own()
	_, missing := os.Lstat(dir)
	real, err := o.MakeDir(dir)
	if err != nil {
		return nil, err
	}
	st := &staging{dir: stagingDir(real, s), owners: o, made: errors.Is(missing, fs.ErrNotExist)}
	if err := os.Mkdir(st.dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if err := o.CheckDir(st.dir, false); err != nil {
		return nil, err
	}
	if st.root, err = os.OpenRoot(st.dir); err != nil {
		return nil, err
	}
	st.lock, err = st.root.OpenFile("lock", os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		st.root.Close()
		return nil, err
	}
	return st, nil
}

// isNamed reports whether the lock still has its name. The run that held it before may have removed it.
func (st *staging) isNamed() bool {
	open, err := st.lock.Stat()
	if err != nil {
		return false
	}
	named, err := st.root.Lstat("lock")
	return err == nil && os.SameFile(open, named)
}

// stagingDir is the staging directory of a store in a state directory.
func stagingDir(dir string, s *nixcli.Store) string {
	state := ""
	if !isDefault(dir, s) { // which is of this database alone, and may have several names, as by bind mounts
		state = s.StateDir
		if real, err := filepath.EvalSymlinks(state); err == nil {
			state = real
		}
	}
	id := sha256.Sum256([]byte(s.Dir + "\n" + state))
	return filepath.Join(dir, "store-"+hex.EncodeToString(id[:8]))
}

// waiting returns the paths for which an earlier run staged replacements.
func waiting(dir string, s *nixcli.Store) (map[string]bool, error) {
	bases := map[string]bool{}
	err := eachDir(stagingDir(dir, s), func(name string) bool {
		if storepath.CheckBaseName(name) == nil {
			bases[name] = true
		}
		return true
	})
	return bases, err
}

// close gives up the lock. An empty directory is removed, but not a state directory that somebody else has made.
func (st *staging) close() {
	if left, err := fs.ReadDir(st.root.FS(), "."); err == nil && len(left) == 1 {
		_ = st.root.Remove("lock")
		_ = os.Remove(st.dir)
		if st.made {
			_ = os.Remove(filepath.Dir(st.dir))
		}
	}
	st.release()
}

func (st *staging) release() {
	st.lock.Close()
	st.root.Close()
}

// newPrefix begins the names of incomplete directories.
const newPrefix = ".new-"

// entries returns the paths with complete replacements, and removes incomplete ones.
func (st *staging) entries() ([]string, error) {
	list, err := fs.ReadDir(st.root.FS(), ".")
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	var bases []string
	for _, e := range list {
		switch name := e.Name(); {
		case strings.HasPrefix(name, newPrefix):
			if err := st.root.RemoveAll(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("state: %w", err)
			}
		case e.IsDir() && storepath.CheckBaseName(name) == nil:
			bases = append(bases, name)
		}
	}
	return bases, nil
}
