package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// watchReader calls gone as soon as nobody can read what is written to f any
// more, also while the run waits for its input. It works for pipes and
// sockets; everything else has no reader that could go.
func watchReader(f *os.File, gone func()) {
	info, err := f.Stat()
	if err != nil || info.Mode()&(os.ModeNamedPipe|os.ModeSocket) == 0 {
		return
	}
	// No events are asked for: errors and hang-ups always come.
	fds := []unix.PollFd{{Fd: int32(f.Fd())}}
	go func() {
		for {
			n, err := unix.Poll(fds, -1)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return // the next write tells
			}
			if n > 0 && fds[0].Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0 {
				gone()
				return
			}
		}
	}()
}
