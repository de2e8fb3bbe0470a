//go:build unix

package remote

import "syscall"

// pending reports whether a connection has unread bytes or has ended. It does not block.
func pending(c syscall.RawConn) bool {
	var b [1]byte
	var err error
	if e := c.Control(func(fd uintptr) {
		_, _, err = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	}); e != nil {
		return true
	}
	return err != syscall.EAGAIN && err != syscall.EWOULDBLOCK && err != syscall.EINTR
}
