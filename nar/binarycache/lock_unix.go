//go:build unix

package binarycache

import (
	"errors"
	"os"

	"syscall"
)

// lockFile locks a file until it is closed or the process ends.
func lockFile(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err != nil {
		return err
	}
	// Whoever held the lock may have removed the file since it was opened.
	byName, err := os.Stat(f.Name())
	if err != nil {
		return err
	}
	held, err := f.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(byName, held) {
		return errors.New("it has just ended")
	}
	return nil
}
