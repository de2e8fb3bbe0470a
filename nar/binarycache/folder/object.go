//go:build linux || darwin

package folder

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

// An objectError concerns only one object. It wraps fs.ErrInvalid, as [binarycache.Store] requires.
type objectError struct{ error }

func (e *objectError) Unwrap() error        { return e.error }
func (e *objectError) Is(target error) bool { return target == fs.ErrInvalid }

// ofObject marks an error of the last element of a name if it concerns only this object: the file system does not
// support the name or the size of the file, or the name belongs to something other than a regular file.
func ofObject(err error) error {
	for _, own := range []error{errSymlink, errSpecial, unix.ENAMETOOLONG, unix.EINVAL, unix.EILSEQ, unix.EISDIR, unix.ELOOP, unix.EFBIG} {
		if errors.Is(err, own) {
			return &objectError{err}
		}
	}
	return err
}

// ofReplaced marks an error of replacing a file that says that this is not allowed. Since a file could be created in the same
// directory, this is because of the file: it is immutable, or belongs to another user in a directory with the sticky bit.
func ofReplaced(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return &objectError{err}
	}
	return err
}
