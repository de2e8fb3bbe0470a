//go:build unix

package remote

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// pending reports whether a connection has bytes that nobody has read, or has ended. It does not wait.
func pending(c syscall.RawConn) bool {
	var b [1]byte
	var err error
	if e := c.Control(func(fd uintptr) {
		_, _, err = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	}); e != nil {
		return true
	}
	return err != unix.EAGAIN && err != unix.EWOULDBLOCK && err != unix.EINTR
}
