//go:build !linux

package inplace

import (
	"golang.org/x/sys/unix"

	"narseal/cmd/narseal/internal/scan"
)

// birthTime is when a file was made.
func birthTime(f *scan.File) unix.Timespec { return f.Inode.Btim }
