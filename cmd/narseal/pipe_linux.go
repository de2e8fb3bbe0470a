package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// pipeSize is what Linux lets everyone ask for (fs.pipe-max-size). Pipes
// begin with 64 KiB, and a larger one is worth more than all else that a
// filter can do for its speed.
const pipeSize = 1 << 20

// enlargePipe asks for a larger pipe where f is one. It may be refused, which
// costs only speed.
func enlargePipe(f *os.File) {
	if size, err := unix.FcntlInt(f.Fd(), unix.F_GETPIPE_SZ, 0); err == nil && size < pipeSize {
		_, _ = unix.FcntlInt(f.Fd(), unix.F_SETPIPE_SZ, pipeSize)
	}
}
