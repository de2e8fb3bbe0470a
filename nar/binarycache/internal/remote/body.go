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
	ctx     context.Context
	store   *Store
	kind    kind
	first   *Answer
	now     io.ReadCloser
	offset  int64    // in the object, in bytes
	broken  int      // number of breaks without enough progress in between
	bad     int      // number of breaks in a row by data that is not HTTP
	since   int64    // bytes since the last break
	skip    int64    // bytes that are sent again, because the server does not support ranges
	skipped []byte   // a buffer for them
	total   progress // of all bytes, including those that are sent again
	recent  progress // since the last patience was over
	err     error
}

// A progress is how much has come in the time that was waited for the server. Nobody else knows: a connection has many
// objects.
type progress struct {
	waited time.Duration
	got    int64
}

func (p *progress) add(waited time.Duration, n int) {
	p.waited += waited
	p.got += int64(n)
}

// isSlow reports whether less than minSpeed bytes per second have come after patience.
func (p *progress) isSlow() bool {
	return p.waited > patience && p.got < int64(p.waited.Seconds())*minSpeed
}

// An object is too slow if it has brought less than minSpeed bytes per second after patience, from its start on or since the
// last patience was over.
const (
	minSpeed = 1 << 10
	patience = 5 * time.Minute
)

// enough is the progress in bytes after which an earlier break no longer counts. Reading fails if a server sends only a
// little each time.
const enough = 1 << 20

func (b *body) Read(p []byte) (int, error) {
	for b.err == nil {
		again := b.skip > 0
		n, err := b.read(p)
		switch {
		case b.err != nil || again && err == nil:
		case err == nil || n > 0:
			return n, nil // the next Read returns the error again
		case err == io.EOF && b.skip == 0 && (b.first.Size < 0 || b.offset == b.first.Size):
			b.err = io.EOF
			b.store.transport.note(b.kind, false)
		default:
			b.err = b.resume(err)
		}
	}
	return 0, b.err
}

// read reads once. It returns how many bytes of p are new, and sets b.err if the object is too long or too slow.
func (b *body) read(p []byte) (int, error) {
	into := p
	if b.skip > 0 {
		if b.skipped == nil {
			b.skipped = make([]byte, skipBuffer)
		}
		into = b.skipped[:min(b.skip, skipBuffer)]
	}
	start := time.Now()
	n, err := b.now.Read(into)
	waited := time.Since(start)
	b.total.add(waited, n)
	b.recent.add(waited, n)
	if b.total.isSlow() || b.recent.isSlow() {
		b.err = b.fail(&silentError{fmt.Sprintf("%d bytes from the server in %s", b.recent.got, b.recent.waited.Round(time.Second))})
		b.store.transport.note(b.kind, true)
		return 0, err
	}
	if b.recent.waited > patience {
		b.recent = progress{}
	}
	if b.skip > 0 {
		b.skip -= int64(n)
		return 0, err
	}
	b.offset += int64(n)
	b.since += int64(n)
	if b.first.Size >= 0 && b.offset > b.first.Size {
		b.err = b.fail(fmt.Errorf("more than %d bytes", b.first.Size))
	}
	return n, err
}

// skipBuffer is how much is read at once of what comes again, in bytes.
const skipBuffer = 64 << 10

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
		b.store.transport.note(b.kind, true)
		return b.fail(why)
	}
	most := maxTries
	if _, n := b.store.transport.tries(b.kind); n >= manyFailed {
		most = firstTries
	}
	if b.broken++; b.broken >= most {
		b.store.transport.note(b.kind, true)
		return b.fail(fmt.Errorf("the connection broke %d times: %w", b.broken, why))
	}
	b.now.Close()
	if err := backoff(b.ctx, b.broken); err != nil {
		return err
	}
	var a *Answer
	err := b.store.transport.try(b.ctx, b.kind, func() (err error) {
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
	b.now, b.skip = a.Body, max(0, b.offset-a.From)
	return nil
}

func (b *body) Close() error {
	if b.err == nil {
		b.err = fs.ErrClosed
	}
	return b.now.Close()
}
