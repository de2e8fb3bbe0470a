package storecmd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// swapIn calls restore to create a new tree in a store directory, and exchanges it with the path base, which may be
// missing, unless check returns an error. Everything except restore and check uses handles of directories. The new tree
// gets the metadata that Nix requires of a store path: mode 0444 or 0555, time 1, and the user as its owner
// (canonicalisePathMetaData in Nix's src/libstore). The old tree is removed; processes can still use its files that
// they have open.
func swapIn(storeDir, base string, restore, check func(path string) error) (err error) {
	store, err := os.OpenRoot(storeDir)
	if err != nil {
		return err
	}
	defer store.Close()
	// If the temporary name is left behind, Nix collects it as garbage, since it is not a store path.
	temp := leftPrefix + base
	if err := removeTree(store, temp); err != nil {
		return err
	}
	defer func() {
		if left := removeTree(store, temp); left != nil && err == nil {
			err = &leftError{filepath.Join(storeDir, temp), left}
		}
	}()
	if err := restore(filepath.Join(storeDir, temp)); err != nil {
		return err
	}
	dir, err := store.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := canonicalize(int(dir.Fd()), temp); err != nil {
		return err
	}
	if err := check(filepath.Join(storeDir, temp)); err != nil {
		return err
	}
	err = exchange(int(dir.Fd()), temp, base)
	switch {
	case errors.Is(err, fs.ErrNotExist): // Nix was interrupted after it removed the path and before it restored it
		err = unix.Renameat(int(dir.Fd()), temp, int(dir.Fd()), base)
	case errors.Is(err, errors.ErrUnsupported), err == unix.EINVAL:
		if err = removeTree(store, base); err == nil {
			err = unix.Renameat(int(dir.Fd()), temp, int(dir.Fd()), base)
		}
	}
	if err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	return dir.Sync()
}

// canonicalize gives a new tree the modes, owner and times that Nix requires, from the leaves up.
func canonicalize(dir int, name string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	mode := uint32(0o444)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		mode = 0o555
		if err := canonicalizeAll(dir, name); err != nil {
			return err
		}
	case unix.S_IFREG:
		if st.Mode&unix.S_IXUSR != 0 {
			mode = 0o555
		}
	case unix.S_IFLNK:
		mode = 0
	default:
		return fmt.Errorf("%s: neither a file nor a directory nor a symlink", name)
	}
	uid, gid := os.Geteuid(), os.Getegid()
	if int(st.Uid) != uid || int(st.Gid) != gid {
		if err := unix.Fchownat(dir, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("%s: change the owner: %w", name, err)
		}
	}
	if mode != 0 {
		if err := unix.Fchmodat(dir, name, mode, 0); err != nil {
			return fmt.Errorf("%s: change the mode: %w", name, err)
		}
	}
	one := []unix.Timespec{{Sec: 1}, {Sec: 1}}
	if err := unix.UtimesNanoAt(dir, name, one, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("%s: change the time: %w", name, err)
	}
	return nil
}

func canonicalizeAll(dir int, name string) error {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	for {
		names, err := f.Readdirnames(namesAtOnce)
		for _, inner := range names {
			if err := canonicalize(fd, inner); err != nil {
				return fmt.Errorf("%s/%w", name, err)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

const (
	// leftPrefix begins the temporary name of a tree that will replace a path.
	leftPrefix = ".narseal-"
	// namesAtOnce is the number of names of a directory that are read at a time.
	namesAtOnce = 1 << 10
)

// A leftError means that a path was replaced, but its old contents could not be removed.
type leftError struct {
	path string
	err  error
}

func (e *leftError) Error() string { return fmt.Sprintf("%s is left: %v", e.path, e.err) }
func (e *leftError) Unwrap() error { return e.err }

// removeTree removes a path of the store, which may contain read-only directories.
func removeTree(store *os.Root, name string) error {
	info, err := store.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.IsDir() {
		if err := makeRemovable(store, name); err != nil {
			return err
		}
	}
	return store.RemoveAll(name)
}

func makeRemovable(in *os.Root, name string) error {
	if err := in.Chmod(name, 0o700); err != nil {
		return err
	}
	dir, err := in.OpenRoot(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	f, err := dir.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		list, err := f.ReadDir(namesAtOnce)
		for _, e := range list {
			if e.IsDir() {
				if err := makeRemovable(dir, e.Name()); err != nil {
					return err
				}
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
