//go:build !unix

package state

import (
	"io/fs"
	"os"
)

const openFlags = 0

// lockFile does nothing, because this system cannot lock files: the user must not start two runs at the same time.
func lockFile(*os.File) error { return nil }

// checkOwner does nothing, because the owner of a file is unknown on this system.
func checkOwner(fs.FileInfo) error { return nil }
