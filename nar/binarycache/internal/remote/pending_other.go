//go:build !unix

package remote

import "syscall"

// pending cannot be told here.
func pending(syscall.RawConn) bool { return false }
