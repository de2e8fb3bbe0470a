package storecmd

import "golang.org/x/sys/unix"

// exchange gives each of two names what the other one has, in one step.
func exchange(dir int, a, b string) error {
	return unix.Renameat2(dir, a, dir, b, unix.RENAME_EXCHANGE)
}
