//go:build !linux

package main

import (
	"errors"
	"io/fs"
	"os"
)

// openUnnamed fails: only Linux has files without a name that can get one.
func openUnnamed(string, fs.FileMode) (*os.File, error) { return nil, errors.ErrUnsupported }

func linkUnnamed(*os.File, string) error { return errors.ErrUnsupported }

func procPath(f *os.File) string { return f.Name() }
