package remote

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A conn fails if no byte is transferred for some time, or too few bytes for a longer time. Time in which nobody reads
// from it does not count.
type conn struct {
	net.Conn
	silence time.Duration
	raw     syscall.RawConn // of Conn; nil if it has none
	dry     atomic.Bool     // reads fail immediately, so that only buffered data is returned

	mu     sync.Mutex
	waited time.Duration // time spent waiting for the last bytes
	got    int
	moved  time.Time // when the deadline for reading was last set
	pushed time.Time // when the deadline for writing was last set
}

// A connection is too slow if it transfers less than slowBytes in slowTime times the allowed silence.
const (
	slowBytes = 1 << 10
	slowTime  = 5
)

// A silentError is the error of a server that sends nothing.
type silentError struct{ text string }

func (e *silentError) Error() string   { return e.text }
func (e *silentError) Timeout() bool   { return true }
func (e *silentError) Temporary() bool { return true }

// errDry is the error of a read while dry is set. It is temporary, so that TLS can continue after it.
var errDry net.Error = &silentError{"no byte is wanted now"}

func newConn(c net.Conn, silence time.Duration) *conn {
	wrapped := &conn{Conn: c, silence: silence}
	if sc, ok := c.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			wrapped.raw = raw
		}
	}
	return wrapped
}

func (c *conn) Read(p []byte) (int, error) {
	if c.dry.Load() {
		return 0, errDry
	}
	start := time.Now()
	if err := c.moveDeadline(start, false); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return n, &silentError{fmt.Sprintf("no byte from the server for %s", c.silence)}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waited += time.Since(start)
	if c.got += n; c.got >= slowBytes {
		c.waited, c.got = 0, 0
	}
	if c.waited > slowTime*c.silence && err == nil {
		return n, &silentError{fmt.Sprintf("%d bytes from the server in %s", c.got, c.waited.Round(time.Second))}
	}
	return n, err
}

// moveDeadline allows another silence, or up to a sixteenth more, because moving the deadline for each read and write
// takes 3 % of the time with small objects. A write that makes progress also shows a reader that the server is alive. The
// opposite is not true: a server may send without end and take nothing.
func (c *conn) moveDeadline(now time.Time, write bool) error {
	slack := c.silence / 16
	at := now.Add(c.silence + slack)
	c.mu.Lock()
	defer c.mu.Unlock()
	if write && now.Sub(c.pushed) >= slack {
		c.pushed, c.moved = now, now
		return c.SetDeadline(at)
	}
	if !write && now.Sub(c.moved) >= slack {
		c.moved = now
		return c.SetReadDeadline(at)
	}
	return nil
}

func (c *conn) Write(p []byte) (int, error) {
	// A large write may take longer than one silence although it makes progress.
	done := 0
	for {
		if err := c.moveDeadline(time.Now(), true); err != nil {
			return done, err
		}
		n, err := c.Conn.Write(p[done:min(len(p), done+writeSize)])
		if done += n; err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				err = &silentError{fmt.Sprintf("the server has accepted no byte for %s", c.silence)}
			}
			return done, err
		}
		if done == len(p) {
			return done, nil
		}
	}
}

// writeSize is the number of bytes that are written within one silence.
const writeSize = 64 << 10
