package folder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// newTemp creates a file that has no name until it is linked, and disappears when it is closed before. If the file
// system does not support such files, or if /proc, which is needed to link them, is missing, the file has a hidden
// name.
func newTemp(dir *os.File) (*temp, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(int(dir.Fd()), ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o666)
	})
	// A kernel that does not know the flag tries to open the directory.
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) || errors.Is(err, unix.ENOENT) {
		return newNamedTemp(dir)
	}
	if err != nil {
		return nil, err
	}
	t := &temp{dir: dir, file: os.NewFile(uintptr(fd), "unnamed file")}
	if _, err := os.Lstat(t.procPath()); err != nil {
		t.close()
		return newNamedTemp(dir)
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil && err != unix.ENOTSUP && err != unix.ENOLCK {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *temp) procPath() string { return fmt.Sprintf("/proc/self/fd/%d", t.file.Fd()) }

// linkUnnamed gives an unnamed file this name, unless the name exists.
func (t *temp) linkUnnamed(name string) error {
	_, err := retry(func() (int, error) {
		return 0, unix.Linkat(unix.AT_FDCWD, t.procPath(), int(t.dir.Fd()), name, unix.AT_SYMLINK_FOLLOW)
	})
	if errors.Is(err, fs.ErrExist) {
		return fs.ErrExist
	}
	return err
}

func exchange(dir int, a, b string) error {
	return unix.Renameat2(dir, a, dir, b, unix.RENAME_EXCHANGE)
}

func renameNew(dir int, from, to string) error {
	return unix.Renameat2(dir, from, dir, to, unix.RENAME_NOREPLACE)
}
