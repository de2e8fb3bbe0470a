package storecmd

import "golang.org/x/sys/unix"

// exchange gives each of two names what the other one has, in one step.
func exchange(dir int, a, b string) error { return unix.RenameatxNp(dir, a, dir, b, unix.RENAME_SWAP) }

// syncAll has everything written to disk.
func syncAll(string) error { return unix.Sync() }
