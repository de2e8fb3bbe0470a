package remote

import (
	"fmt"
	"io"
	"time"
)

// A connection may deliver a few bytes at a time without end. Data that is read as a whole has less time.
const (
	wholeTime = 2 * time.Minute // for a header, from its first byte on, or for up to some MB
	drainTime = 2 * time.Second // for data that is read only to reuse the connection
	maxDrain  = 4 << 10         // bytes
)

// Soon calls read, which reads a whole body, and closes the body if that takes too long.
func Soon(body io.Closer, read func() error) error { return within(wholeTime, body, read) }

func within(d time.Duration, body io.Closer, read func() error) error {
	t := time.AfterFunc(d, func() { body.Close() })
	err := read()
	if !t.Stop() && err != nil {
		return &silentError{fmt.Sprintf("not all of a short answer in %s", d)}
	}
	return err
}

// Drain closes a body. Before that, it reads the rest if that is short and arrives soon, so that the connection can be
// reused.
func Drain(body io.ReadCloser) {
	_ = within(drainTime, body, func() error {
		_, err := io.CopyN(io.Discard, body, maxDrain)
		return err
	})
	body.Close()
}
