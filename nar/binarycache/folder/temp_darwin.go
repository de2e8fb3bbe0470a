package folder

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// newTemp creates a file with a hidden name: macOS has no unnamed files.
func newTemp(dir *os.File) (*temp, error) { return newNamedTemp(dir) }

func (t *temp) linkUnnamed(string) error { return errors.ErrUnsupported }

func exchange(dir int, a, b string) error {
	return unix.RenameatxNp(dir, a, dir, b, unix.RENAME_SWAP)
}

func renameNew(dir int, from, to string) error {
	return unix.RenameatxNp(dir, from, dir, to, unix.RENAME_EXCL)
}
