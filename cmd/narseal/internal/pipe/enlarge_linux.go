package pipe

import (
	"os"

	"golang.org/x/sys/unix"
)

// wantedSize is the size that Linux grants every process by default (fs.pipe-max-size). A new pipe has 64 KiB; a filter
// with a larger buffer is much faster.
const wantedSize = 1 << 20

// Enlarge asks for a larger buffer if f is a pipe. A refusal costs only speed.
func Enlarge(f *os.File) {
	if size, err := unix.FcntlInt(f.Fd(), unix.F_GETPIPE_SZ, 0); err == nil && size < wantedSize {
		_, _ = unix.FcntlInt(f.Fd(), unix.F_SETPIPE_SZ, wantedSize)
	}
}
