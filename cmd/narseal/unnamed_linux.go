package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// openUnnamed makes a file in dir that has no name yet, and is gone when it is
// closed before linkUnnamed. The error is errors.ErrUnsupported where the file
// system has no such files, or /proc is not there to name them later.
func openUnnamed(dir string, perm fs.FileMode) (*os.File, error) {
	f, err := os.OpenFile(dir, unix.O_TMPFILE|unix.O_RDWR, perm)
	switch {
	// A kernel that does not know the flag takes it for a folder to be opened.
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EISDIR):
		return nil, fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	case err != nil:
		return nil, err
	}
	if _, err := os.Lstat(procPath(f)); err != nil {
		f.Close()
		return nil, fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	return f, nil
}

// linkUnnamed gives a file of openUnnamed its name, in the folder in which it
// was made, and takes it away from what had it.
func linkUnnamed(f *os.File, name string) error {
	link := func(to string) error {
		err := unix.Linkat(unix.AT_FDCWD, procPath(f), unix.AT_FDCWD, to, unix.AT_SYMLINK_FOLLOW)
		if err != nil {
			return &os.PathError{Op: "link", Path: to, Err: err}
		}
		return nil
	}
	if err := link(name); !errors.Is(err, fs.ErrExist) {
		return err
	}
	// No call replaces a file by one without a name.
	for {
		hidden := hiddenName(name)
		err := link(hidden)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil {
			if err = os.Rename(hidden, name); err != nil {
				os.Remove(hidden)
			}
		}
		return err
	}
}

func procPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }
