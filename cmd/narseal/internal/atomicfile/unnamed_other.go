//go:build !linux

package atomicfile

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// searchOnly is 0 where a directory cannot be opened for searching only.
const searchOnly = 0

// utimeOmit is UTIME_OMIT of macOS' sys/stat.h.
const utimeOmit = -2

// noAttribute is the error for an extended attribute that a file does not have.
const noAttribute = unix.ENOATTR

// openUnnamed fails: only Linux can give an unnamed file a name later.
func openUnnamed(int, string, fs.FileMode) (*os.File, error) { return nil, errors.ErrUnsupported }

func linkUnnamed(*os.File, int, string) error { return errors.ErrUnsupported }

func procPath(f *os.File) string { return f.Name() }
