package storecmd

import "golang.org/x/sys/unix"

// exchange atomically exchanges the files of two names.
func exchange(dir int, a, b string) error { return unix.RenameatxNp(dir, a, dir, b, unix.RENAME_SWAP) }

// syncAll syncs all file systems.
func syncAll(string) error { return unix.Sync() }
