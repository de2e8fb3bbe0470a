//go:build !unix

package state

import (
	"io/fs"
	"os"
)

const openFlags = 0

// lockFile does nothing, as files cannot be locked here: the user has to keep runs apart.
func lockFile(*os.File) error { return nil }

// checkOwner does nothing, as owners are not known here.
func checkOwner(fs.FileInfo) error { return nil }
