package binarycache

import (
	"io"
	"sync/atomic"
)

// A planned counts the bytes of the work on one path: those that were announced by Planned, and those that were done.
type planned struct {
	run  *run
	all  int64
	done atomic.Int64
}

// add announces more work.
func (p *planned) add(n int64) {
	p.all += n
	p.run.plan(0, n)
}

// end takes back what was announced and not done, as of a path that has failed, so that the sums agree in the end.
func (p *planned) end() { p.add(p.done.Load() - p.all) }

// count counts work that is done, and tells the caller by f, which may be nil.
func (p *planned) count(f func(int)) func(int) {
	return func(n int) {
		p.done.Add(int64(n))
		if f != nil {
			f(n)
		}
	}
}

// countBody counts what is read of a body, once, however often it is read.
func (p *planned) countBody(body io.ReadSeeker, size int64) io.ReadSeeker {
	c := &countedBody{ReadSeeker: body, count: p.count(p.run.Written)}
	c.left.Store(size)
	if at, ok := body.(io.ReaderAt); ok {
		return &countedBodyAt{c, at}
	}
	return c
}

type countedBody struct {
	io.ReadSeeker
	count func(int)
	left  atomic.Int64
}

func (c *countedBody) add(n int) {
	if n = int(min(int64(n), c.left.Add(int64(-n))+int64(n))); n > 0 {
		c.count(n)
	}
}

func (c *countedBody) Read(b []byte) (int, error) {
	n, err := c.ReadSeeker.Read(b)
	c.add(n)
	return n, err
}

// countedBodyAt is of a body that is read at any place, as in parts.
type countedBodyAt struct {
	*countedBody
	at io.ReaderAt
}

func (c *countedBodyAt) ReadAt(b []byte, off int64) (int, error) {
	n, err := c.at.ReadAt(b, off)
	c.add(n)
	return n, err
}
