package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

const (
	lockName  = "lock"
	lockTries = 100
)

// acquire opens the directory of the cache and its lock, and locks it. If another run removes them at the same time
// because it ends, acquire tries again.
func (s *State) acquire(cache string) error {
	for range lockTries {
		if err := s.dir.Mkdir(s.id, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		root, err := openOwnRoot(s.dir, s.id)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errReplaced) {
			continue
		}
		if err != nil {
			return err
		}
		lock, err := openOwnFile(root, lockName, os.O_RDWR|os.O_CREATE)
		if err == nil {
			if err = lockFile(lock); err == nil {
				if s.isCurrent(root, lock) {
					s.root, s.lock = root, lock
					return nil
				}
				err = fs.ErrNotExist
			} else {
				err = fmt.Errorf("lock: another run works on %s: %w", cache, err)
			}
			lock.Close()
		}
		root.Close()
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return fmt.Errorf("lock: other runs keep starting and ending on %s", cache)
}

// isCurrent reports whether the lock and its directory still have their names.
func (s *State) isCurrent(root *os.Root, lock *os.File) bool {
	same := func(r *os.Root, name string, stat func() (fs.FileInfo, error)) bool {
		byName, err := r.Lstat(name)
		if err != nil {
			return false
		}
		open, err := stat()
		return err == nil && os.SameFile(byName, open)
	}
	return same(root, lockName, lock.Stat) &&
		same(s.dir, s.id, func() (fs.FileInfo, error) { return root.Stat(".") })
}

// errReplaced is wrapped by the error for a directory that was replaced while it was opened.
var errReplaced = errors.New("it was replaced at the same time")

// openOwnRoot opens a directory in dir. It must not be a symlink, and must belong to the user.
func openOwnRoot(dir *os.Root, name string) (*os.Root, error) {
	before, err := dir.Lstat(name)
	if err != nil {
		return nil, err
	}
	if before.Mode()&fs.ModeSymlink != 0 {
		return nil, &fs.PathError{Op: "open", Path: dir.Name() + "/" + name, Err: errors.New("it is a symbolic link")}
	}
	root, err := dir.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	info, err := root.Stat(".")
	if err == nil && !os.SameFile(before, info) {
		err = errReplaced
	}
	if err == nil {
		err = checkOwner(info)
	}
	if err != nil {
		return nil, errors.Join(&fs.PathError{Op: "open", Path: dir.Name() + "/" + name, Err: err}, root.Close())
	}
	return root, nil
}

// openOwnFile opens a regular file in root. It must not be a symlink, and only the user may be able to write to it.
func openOwnFile(root *os.Root, name string, flag int) (*os.File, error) {
	f, err := root.OpenFile(name, flag|openFlags, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err == nil {
		var byName fs.FileInfo
		if byName, err = root.Lstat(name); err == nil && byName.Mode()&fs.ModeSymlink != 0 {
			err = errors.New("it is a symbolic link")
		}
	}
	if err == nil {
		err = checkOwner(info)
	}
	if err != nil {
		return nil, errors.Join(&fs.PathError{Op: "open", Path: root.Name() + "/" + name, Err: err}, f.Close())
	}
	return f, nil
}
