//go:build linux || darwin

package folder

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

// An objectError concerns one object only. It wraps fs.ErrInvalid, as [binarycache.Store] wants it.
type objectError struct{ error }

func (e *objectError) Unwrap() error        { return e.error }
func (e *objectError) Is(target error) bool { return target == fs.ErrInvalid }

// ofObject marks an error of the last element of a name if it concerns this object only: the file system cannot have such
// a name, or a file of this size, or something else has the name.
func ofObject(err error) error {
	for _, own := range []error{errSymlink, errSpecial, unix.ENAMETOOLONG, unix.EINVAL, unix.EILSEQ, unix.EISDIR, unix.ELOOP, unix.EFBIG} {
		if errors.Is(err, own) {
			return &objectError{err}
		}
	}
	return err
}
