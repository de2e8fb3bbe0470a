package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"
)

// A body reads an object. If the connection breaks, it continues at the same offset, with the same version of the
// object.
type body struct {
	ctx    context.Context
	store  *Store
	first  *Answer
	now    io.ReadCloser
	offset int64         // in the object, in bytes
	broken int           // number of breaks without enough progress in between
	bad    int           // number of breaks in a row by data that is not HTTP
	since  int64         // bytes since the last break
	waited time.Duration // time spent waiting for the server for this object
	err    error
}

// An object is too slow if it has brought less than minSpeed bytes per second after patience.
const (
	minSpeed = 1 << 10
	patience = 5 * time.Minute
)

// enough is the progress in bytes after which an earlier break no longer counts. Reading fails if a server sends only a
// little each time.
const enough = 1 << 20

func (b *body) Read(p []byte) (int, error) {
	for b.err == nil {
		start := time.Now()
		n, err := b.now.Read(p)
		b.waited += time.Since(start)
		b.offset += int64(n)
		b.since += int64(n)
		if b.first.Size >= 0 && b.offset > b.first.Size {
			b.err = b.fail(fmt.Errorf("more than %d bytes", b.first.Size))
			break
		}
		if b.waited > patience && b.offset < int64(b.waited.Seconds())*minSpeed {
			b.err = b.fail(&silentError{fmt.Sprintf("%d bytes from the server in %s", b.offset, b.waited.Round(time.Second))})
			break
		}
		if err == nil || n > 0 {
			return n, nil // the next Read returns the error again
		}
		if err == io.EOF && (b.first.Size < 0 || b.offset == b.first.Size) {
			b.err = io.EOF
			break
		}
		b.err = b.resume(err)
	}
	return 0, b.err
}

func (b *body) fail(err error) error {
	return b.store.fail("read", b.first.Name, fmt.Errorf("offset %d: %w", b.offset, err))
}

// resume continues after the connection broke. why is the reason.
func (b *body) resume(why error) error {
	if err := b.ctx.Err(); err != nil {
		return err
	}
	if why == io.EOF {
		why = io.ErrUnexpectedEOF
	}
	why = Network(why)
	if b.since >= enough {
		b.broken, b.bad = 0, 0
	}
	b.since = 0
	if b.bad++; !malformed(why) {
		b.bad = 0
	}
	if b.bad >= badTries {
		return b.fail(why)
	}
	if b.broken++; b.broken >= maxTries {
		return b.fail(fmt.Errorf("the connection broke %d times: %w", b.broken, why))
	}
	b.now.Close()
	if err := backoff(b.ctx, b.broken); err != nil {
		return err
	}
	var a *Answer
	err := b.store.transport.Retry(b.ctx, func() (err error) {
		a, err = b.store.backend.Get(b.ctx, b.first.Name, b.offset, b.first)
		return err
	})
	if err != nil {
		var e *Error
		if errors.As(err, &e) && e.precondition() {
			return b.fail(fmt.Errorf("the connection broke (%w), and the object has changed since", why))
		}
		return b.fail(fmt.Errorf("the connection broke (%w), and reading on failed: %w", why, err))
	}
	b.now = a.Body
	if skip := b.offset - a.From; skip > 0 {
		// The server does not support ranges.
		if _, err := io.CopyN(io.Discard, a.Body, skip); err != nil {
			return b.resume(err)
		}
	}
	return nil
}

func (b *body) Close() error {
	if b.err == nil {
		b.err = fs.ErrClosed
	}
	return b.now.Close()
}
