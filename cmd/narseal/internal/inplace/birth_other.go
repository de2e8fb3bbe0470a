//go:build !linux

package inplace

import (
	"golang.org/x/sys/unix"

	"narseal/cmd/narseal/internal/scan"
)

// birthTime returns the time when a file was created.
func birthTime(f *scan.File) unix.Timespec { return f.Inode.Btim }
