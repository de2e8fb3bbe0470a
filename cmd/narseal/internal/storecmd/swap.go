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
	p := &placer{store, dir, exchange, func() error { return syncAll(storeDir) }}
	return p.place(base)
}

// placer gives a new tree the name of the path whose place it takes.
type placer struct {
	store    *os.Root
	dir      *os.File // the same
	exchange func(dir int, a, b string) error
	sync     func() error // writes the contents to disk
}

// place exchanges a path with the tree beside it, which has the name with leftPrefix then. Where a file system cannot, the
// path gets another name for the moment: see oldPrefix. The contents are on disk before: without Nix, nobody could bring them
// back after a power cut.
func (p *placer) place(base string) error {
	dir := int(p.dir.Fd())
	temp, old := leftPrefix+base, oldPrefix+base
	rename := func(from, to string) error { return unix.Renameat(dir, from, dir, to) }
	if err := p.sync(); err != nil {
		return err
	}
	err := p.exchange(dir, temp, base)
	switch {
	case errors.Is(err, fs.ErrNotExist): // Nix was cut between removing and restoring it
		err = rename(temp, base)
	case errors.Is(err, errors.ErrUnsupported), err == unix.EINVAL:
		if err = removeTree(p.store, old); err != nil {
			return err
		}
		if err = rename(base, old); err != nil {
			break
		}
		if err = rename(temp, base); err != nil {
			return fmt.Errorf("rename: %w", errors.Join(err, rename(old, base)))
		}
		err = rename(old, temp)
	}
	if err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	return p.dir.Sync()
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
	// oldPrefix begins the name of a path between two renames, where there is no way to exchange two names in one step. If
	// the run is killed there, the next one gives it its name back.
	oldPrefix = ".narseal-old-"
	// namesAtOnce is how many names of a directory are in memory.
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
