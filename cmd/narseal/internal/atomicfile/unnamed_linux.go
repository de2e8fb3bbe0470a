package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// searchOnly is the flag that opens a directory for searching only. It works without read permission.
const searchOnly = unix.O_PATH

const utimeOmit = unix.UTIME_OMIT

// noAttribute is the error for an extended attribute that a file does not have.
const noAttribute = unix.ENODATA

// openUnnamed creates a file without a name in the directory called name, relative to the open directory dir. The file
// vanishes when it is closed, unless linkUnnamed gives it a name. The error is errors.ErrUnsupported if the file system
// does not support such files, or if /proc, which linkUnnamed needs, is missing.
func openUnnamed(dir int, name string, perm fs.FileMode) (*os.File, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(dir, name, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, uint32(perm.Perm()))
	})
	switch err {
	case nil:
	case unix.EOPNOTSUPP, unix.EISDIR: // a kernel that does not know the flag tries to open the directory
		return nil, fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	default:
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := os.Lstat(procPath(f)); err != nil {
		f.Close()
		return nil, fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	return f, nil
}

// linkUnnamed gives an unnamed file the name base in the open directory dir. If base exists, it stays, and the error is
// fs.ErrExist.
func linkUnnamed(f *os.File, dir int, base string) error {
	return unix.Linkat(unix.AT_FDCWD, procPath(f), dir, base, unix.AT_SYMLINK_FOLLOW)
}

func procPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }
