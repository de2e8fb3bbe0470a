//go:build !unix

package binarycache

import "os"

// lockFile does nothing where files cannot be locked: keep runs apart yourself.
func lockFile(*os.File) error { return nil }
