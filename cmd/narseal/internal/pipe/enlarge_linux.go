package pipe

import (
	"os"

	"golang.org/x/sys/unix"
)

// wantedSize is what Linux grants every process (fs.pipe-max-size). A pipe starts with 64 KiB; the larger buffer
// speeds up a filter more than anything else it can do.
const wantedSize = 1 << 20

// Enlarge asks for a larger buffer if f is a pipe. A refusal costs only speed.
func Enlarge(f *os.File) {
	if size, err := unix.FcntlInt(f.Fd(), unix.F_GETPIPE_SZ, 0); err == nil && size < wantedSize {
		_, _ = unix.FcntlInt(f.Fd(), unix.F_SETPIPE_SZ, wantedSize)
	}
}
