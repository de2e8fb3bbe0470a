package binarycache

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/nix-community/go-nix/pkg/nixhash"

	"narseal/nar/compression"
)

// A meter takes the size and SHA-256 of what passes.
type meter struct {
	n    int64
	hash hash.Hash
}

func newMeter() *meter { return &meter{hash: sha256.New()} }

func (m *meter) Write(p []byte) (int, error) {
	m.n += int64(len(p))
	return m.hash.Write(p)
}

func (m *meter) sum() sum {
	s := sum{size: m.n}
	m.hash.Sum(s.hash[:0])
	return s
}

// A checkedNAR reads the contents of a NAR's file and measures both.
type checkedNAR struct {
	info   *info
	object io.ReadCloser
	file   io.Reader // object, measured
	fileSum,
	narSum *meter
	dec      io.ReadCloser
	progress func(int) // may be nil
}

// openNAR opens the NAR of n. If copyTo is not nil, the file is written to it as
// it is read.
func openNAR(ctx context.Context, s Store, n *info, copyTo io.Writer) (*checkedNAR, error) {
	if n.FileSize != 0 {
		o, err := s.Stat(ctx, n.URL)
		if err != nil {
			return nil, err
		}
		if o.Size != int64(n.FileSize) {
			return nil, mismatch(n.URL, "FileSize", o.Size, n.FileSize)
		}
	}
	object, err := s.Open(ctx, n.URL)
	if err != nil {
		return nil, err
	}
	c := &checkedNAR{info: n, object: object, fileSum: newMeter(), narSum: newMeter()}
	w := io.Writer(c.fileSum)
	if copyTo != nil {
		w = io.MultiWriter(w, copyTo)
	}
	c.file = io.TeeReader(contextReader{ctx, object}, w)
	dec, found, err := compression.Decompress(c.file)
	if err == nil && found != n.compression {
		dec.Close()
		err = fmt.Errorf("%s: %w: compression: got %s, want %s", n.URL, ErrMismatch, found, n.compression)
	}
	if err != nil {
		return nil, errors.Join(c.explain(err), object.Close())
	}
	c.dec = dec
	return c, nil
}

func mismatch(name, what string, got, want any) error {
	return fmt.Errorf("%s: %w: %s: got %v, want %v", name, ErrMismatch, what, got, want)
}

// Read reads contents, and not beyond NarSize, however much a file expands.
func (c *checkedNAR) Read(p []byte) (int, error) {
	n, err := c.dec.Read(p)
	c.narSum.Write(p[:n])
	if c.narSum.n > int64(c.info.NarSize) {
		return 0, mismatch(c.info.URL, "NarSize", "more", c.info.NarSize)
	}
	if c.progress != nil {
		c.progress(n)
	}
	return n, err
}

// finish reads what is left after the filter has ended with err, and says whether
// the NAR is what its narinfo says.
func (c *checkedNAR) finish(err error) error {
	if err == nil {
		_, err = io.CopyBuffer(io.Discard, struct{ io.Reader }{c}, make([]byte, 256<<10))
	}
	if err != nil {
		return c.explain(err)
	}
	if err := c.checkFile(); err != nil {
		return err
	}
	got := c.narSum.sum()
	if got.size != int64(c.info.NarSize) {
		return mismatch(c.info.URL, "NarSize", got.size, c.info.NarSize)
	}
	if string(got.hash[:]) != string(c.info.NarHash.Digest()) {
		return mismatch(c.info.URL, "NarHash", got, c.info.NarHash.Format(nixhash.NixBase32, true))
	}
	return nil
}

// explain reads on to the end of the file after an error in the middle: if the
// file is not the one that the narinfo speaks of, then that is the reason.
func (c *checkedNAR) explain(err error) error {
	if c.info.FileHash == nil || errors.Is(err, context.Canceled) {
		return err
	}
	if _, err2 := io.Copy(io.Discard, c.file); err2 != nil {
		return err
	}
	if damaged := c.checkFile(); damaged != nil {
		return fmt.Errorf("%w (%w)", damaged, err)
	}
	return err
}

func (c *checkedNAR) checkFile() error {
	got := c.fileSum.sum()
	if want := c.info.FileSize; want != 0 && got.size != int64(want) {
		return mismatch(c.info.URL, "FileSize", got.size, want)
	}
	if want := c.info.FileHash; want != nil && string(got.hash[:]) != string(want.Digest()) {
		return mismatch(c.info.URL, "FileHash", got, want.Format(nixhash.NixBase32, true))
	}
	return nil
}

func (c *checkedNAR) Close() error {
	return errors.Join(c.dec.Close(), c.object.Close())
}

// A contextReader stops when its context does.
type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
