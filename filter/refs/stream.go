package refs

import (
	"errors"
	"fmt"
	"io"
	"runtime"

	"narseal/nar/compression"
)

// stream searches a compressed stream.
func (u *Unpacker) stream(r io.Reader, l layer) {
	in := &counted{r: r}
	dec, t, err := u.decompress(in)
	if err != nil {
		u.warn(l, err)
		return
	}
	defer dec.Close()
	_ = u.unpack(dec, func() int64 { return in.n }, l.inside("", string(t), true)) // it has warned
}

// decompress returns a reader of a compressed stream. Close returns its memory to the budget.
func (u *Unpacker) decompress(r io.Reader) (io.ReadCloser, compression.Type, error) {
	dec, t, used, err := compression.DecompressWithin(r, u.memory.left)
	if errors.Is(err, compression.ErrMemory) {
		return nil, "", limitError(err.Error())
	}
	if err != nil {
		return nil, "", err
	}
	u.memory.left -= used
	return &decoder{ReadCloser: dec, u: u, used: used}, t, nil
}

// decoder returns its memory to the budget when it is closed.
type decoder struct {
	io.ReadCloser
	u    *Unpacker
	used int64
	out  int64
}

func (d *decoder) Read(p []byte) (int, error) {
	n, err := d.ReadCloser.Read(p)
	d.out += int64(n)
	return n, err
}

func (d *decoder) Close() error {
	err := d.ReadCloser.Close()
	d.u.memory.give(d.used)
	if d.used > smallDecoder && d.out > pooledOutput {
		d.u.freed(d.used)
	}
	d.used = 0
	return err
}

// freedArchive calls freed for the memory of an archive, unless it is small: small archives are collected soon enough.
func (u *Unpacker) freedArchive(n int64) {
	if n > smallArchive {
		u.freed(n)
	}
}

// freed runs the garbage collector when decoders and archives have released more than maxGarbage bytes. Otherwise the
// heap may double before it is collected, and a few bytes of input can request a window of many MiB.
func (u *Unpacker) freed(n int64) {
	if u.garbage += n; u.garbage > maxGarbage {
		u.garbage = 0
		runtime.GC()
	}
}

// A boundedReader reads an unpacked layer and fails at a limit. See Unpacker.unpack.
type boundedReader struct {
	r   io.Reader
	u   *Unpacker
	in  func() int64
	out int64
	err error
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.r.Read(p)
	b.out += int64(n)
	b.u.left -= int64(n)
	switch {
	case b.u.left < 0:
		err = &b.u.over
	case b.out > b.u.free && b.out/b.u.Ratio > b.in():
		err = limitError(fmt.Sprintf("expands more than %d:1", b.u.Ratio))
	case b.u.excess() > b.u.pool:
		err = &b.u.ratio
	}
	var known *onceError
	if err != nil && err != io.EOF && !errors.As(err, &known) {
		err = &onceError{err: err}
	}
	b.err = err
	return n, err
}

// counted counts the bytes read from it.
type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
