//go:build !linux

package sandbox

import "runtime"

// Restrict does nothing: this package cannot restrict a process on this system.
func Restrict(Policy) (Status, error) {
	return Status{Reason: "narseal restricts itself only on Linux, this is " + runtime.GOOS}, nil
}
