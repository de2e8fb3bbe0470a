package remote

import (
	"fmt"
	"io"
	"time"
)

// A connection may bring little for ever. What is read whole has less time.
const (
	wholeTime = 2 * time.Minute // for a header, from its first byte on, or up to some MB
	drainTime = 2 * time.Second // for what is read only so that a connection can be used again
	maxDrain  = 4 << 10         // bytes
)

// Soon calls read, which reads all of a body, and closes the body if that takes too long.
func Soon(body io.Closer, read func() error) error { return within(wholeTime, body, read) }

func within(d time.Duration, body io.Closer, read func() error) error {
	t := time.AfterFunc(d, func() { body.Close() })
	err := read()
	if !t.Stop() && err != nil {
		return &silentError{fmt.Sprintf("not all of a short answer in %s", d)}
	}
	return err
}

// Drain reads the rest of a body if it is short and there, so that its connection can be used again, and closes it.
func Drain(body io.ReadCloser) {
	_ = within(drainTime, body, func() error {
		_, err := io.CopyN(io.Discard, body, maxDrain)
		return err
	})
	body.Close()
}
