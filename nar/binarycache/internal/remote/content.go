package remote

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"narseal/nar/binarycache/internal/stream"
	"narseal/nar/binarycache/narinfo"
)

// Content is the body of an object that is written, which may take several tries. It has been read to check its size.
type Content struct {
	Size int64
	Hash [sha256.Size]byte

	mu   sync.Mutex
	body io.ReadSeeker
	last *attempt
}

// measure reads a body, which must have size bytes, and returns it as Content.
func measure(ctx context.Context, body io.ReadSeeker, size int64) (*Content, error) {
	if size < 0 {
		return nil, errors.New("the size must be known")
	}
	h := sha256.New()
	buf := make([]byte, min(256<<10, size+1))
	n, err := io.CopyBuffer(struct{ io.Writer }{h}, io.LimitReader(stream.WithContext(ctx, body), size+1), buf)
	if err == nil && n != size {
		err = fmt.Errorf("got %d bytes or more, want %d", n, size)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	c := &Content{Size: size, body: body}
	h.Sum(c.Hash[:0])
	return c, nil
}

// Reader returns a reader of the body from its start. It revokes the reader that it returned before, since package
// net/http may continue to read that after its request has failed.
func (c *Content) Reader() (io.Reader, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last != nil {
		c.last.revoke()
	}
	if _, err := c.body.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	c.last = &attempt{r: c.body, left: c.Size}
	return c.last, nil
}

// HasPart reports whether an object on the server has only the beginning of small content. It closes the object's body.
func (c *Content) HasPart(a *Answer) (bool, error) {
	defer a.Body.Close()
	var got []byte
	err := Soon(a.Body, func() (err error) {
		got, err = io.ReadAll(io.LimitReader(a.Body, min(c.Size, narinfo.MaxSize)+1))
		return err
	})
	if err != nil {
		return false, Network(err)
	}
	r, err := c.Reader()
	if err != nil || int64(len(got)) >= c.Size {
		return false, err
	}
	want := make([]byte, len(got))
	_, err = io.ReadFull(r, want)
	return bytes.Equal(got, want), err
}

// Parts calls f with parts of size bytes of the content, one after the other. If the body is not an [io.ReaderAt], each
// part is held in memory while f runs.
func (c *Content) Parts(ctx context.Context, size int64, f func(number int, part *Content) error) error {
	whole, err := c.Reader()
	if err != nil {
		return err
	}
	at, random := c.body.(io.ReaderAt)
	for offset, number := int64(0), 1; offset < c.Size; offset, number = offset+size, number+1 {
		n := min(size, c.Size-offset)
		var body io.ReadSeeker
		if random {
			body = io.NewSectionReader(at, offset, n)
		} else {
			b := make([]byte, n)
			if _, err := io.ReadFull(whole, b); err != nil {
				return fmt.Errorf("offset %d: %w", offset, err)
			}
			body = bytes.NewReader(b)
		}
		part, err := measure(ctx, body, n)
		if err == nil {
			err = f(number, part)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// An attempt is a reader that can be revoked.
type attempt struct {
	mu   sync.Mutex
	r    io.Reader // nil: revoked
	left int64
}

func (a *attempt) Read(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.r == nil {
		return 0, fs.ErrClosed
	}
	if a.left == 0 {
		return 0, io.EOF
	}
	n, err := a.r.Read(p[:min(int64(len(p)), a.left)])
	if a.left -= int64(n); err == io.EOF && a.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (a *attempt) revoke() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.r = nil
}
