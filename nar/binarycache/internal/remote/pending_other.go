//go:build !unix

package remote

import "syscall"

// pending returns false: this system cannot tell.
func pending(syscall.RawConn) bool { return false }
