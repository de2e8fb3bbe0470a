package pipe

import (
	"os"

	"golang.org/x/sys/unix"
)

// WatchReader calls gone when the reader of f goes away, even while the program waits for its input. It watches only
// pipes and sockets: other files have no reader that can go away.
func WatchReader(f *os.File, gone func()) {
	if !hasReader(f) {
		return
	}
	// No events are requested: errors and hang-ups are always reported.
	fds := []unix.PollFd{{Fd: int32(f.Fd())}}
	go func() {
		for {
			n, err := unix.Poll(fds, -1)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return // the next write fails
			}
			if n > 0 && fds[0].Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0 {
				gone()
				return
			}
		}
	}()
}
