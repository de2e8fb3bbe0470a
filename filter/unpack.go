package filter

import (
	"archive/tar"
	"archive/zip"
	"errors"
	"fmt"
	"io"

	"narseal/nar/compression"
)

// stream looks into what a compressed stream holds.
func (d *diver) stream(r io.Reader, l layer) {
	in := &counted{r: r}
	dec, t, err := compression.Decompress(in)
	if err != nil {
		d.warn(l, err)
		return
	}
	defer dec.Close()
	d.open(d.bounded(dec, func() int64 { return in.n }), l.inside("", string(t), true))
}

// tar looks into the members of a tar archive. What stands in front of their
// contents is searched too, but for numbers and for who owns them.
func (d *diver) tar(r io.Reader, l layer) {
	in := &counted{r: r}
	tr := tar.NewReader(in)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			d.warn(l, err)
			return
		}
		m := l.inside("!"+h.Name, "tar", false)
		d.searchName(InName, h.Name, m)
		d.searchName(InTarget, h.Linkname, m)
		if h.Typeflag == tar.TypeReg || h.Typeflag == tar.TypeGNUSparse {
			// A sparse file may be larger than the archive.
			data := d.bounded(tr, func() int64 { return in.n })
			d.open(data, m)
			if data.err != nil && data.err != io.EOF {
				return
			}
		}
	}
}

const (
	// maxZip is the largest zip archive that is held, in bytes.
	maxZip = 256 << 20
	// maxZipDirectory is the largest directory of one that is read, in bytes:
	// it is kept in memory, several times larger.
	maxZipDirectory = 16 << 20
)

// zip looks into the members of a zip archive, which needs random access.
func (d *diver) zip(r io.Reader, l layer) {
	var h held
	defer h.close()
	err := d.hold(&h, r)
	var zr *zip.Reader
	if err == nil {
		in := &limitedAt{r: h.image(), left: maxZipDirectory}
		zr, err = zip.NewReader(in, h.size)
		in.left = 1 << 62
	}
	if err != nil {
		d.warn(l, err)
		if l.hidden {
			d.search(io.NewSectionReader(h.image(), 0, h.size), l)
		}
		return
	}
	unpack := func(r io.Reader) io.ReadCloser {
		dec, _, err := compression.Decompress(r)
		if err != nil {
			return io.NopCloser(failing{err})
		}
		return dec
	}
	for _, method := range []uint16{12, 20, 93, 95} { // bzip2, zstd (twice) and xz: APPNOTE.TXT 4.4.5
		zr.RegisterDecompressor(method, unpack)
	}
	for _, f := range zr.File {
		if d.left < 0 {
			break
		}
		m := l.inside("!"+f.Name, "zip", f.Method != zip.Store)
		d.searchName(InName, f.Name, m)
		if f.FileInfo().IsDir() || f.UncompressedSize64 == 0 {
			continue
		}
		const encrypted = 1
		if f.Flags&encrypted != 0 {
			d.warn(m, errors.New("encrypted"))
			continue
		}
		rc, err := f.Open()
		if err != nil {
			d.warn(m, err)
			continue
		}
		d.open(d.bounded(rc, func() int64 { return int64(f.CompressedSize64) }), m)
		rc.Close()
	}
}

// hold takes all of r.
func (d *diver) hold(h *held, r io.Reader) error {
	limit := d.HoldMemory
	if limit <= 0 {
		limit = DefaultHoldMemory
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		if h.size+int64(n) > maxZip {
			return fmt.Errorf("a zip archive of more than %d bytes", maxZip)
		}
		if err := h.add(buf[:n], maxZip, limit, d.Scratch); err != nil {
			return err
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// bounded reads what a layer expands to, as far as the limits allow; in tells
// how many bytes it took.
func (d *diver) bounded(r io.Reader, in func() int64) *boundedReader {
	return &boundedReader{r: r, d: d, in: in}
}

type boundedReader struct {
	r   io.Reader
	d   *diver
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
	b.d.left -= int64(n)
	switch {
	case b.d.left < 0:
		err = &b.d.over
	case b.out > b.d.free && b.out/b.d.Ratio > b.in():
		err = fmt.Errorf("expands more than %d:1", b.d.Ratio)
	}
	var known *onceError
	if err != nil && err != io.EOF && !errors.As(err, &known) {
		err = &onceError{err: err}
	}
	b.err = err
	return n, err
}

// counted counts what is read from it.
type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// limitedAt fails when more than left bytes were read from it.
type limitedAt struct {
	r    io.ReaderAt
	left int64
}

func (l *limitedAt) ReadAt(p []byte, off int64) (int, error) {
	if l.left -= int64(len(p)); l.left < 0 {
		return 0, fmt.Errorf("its directory has more than %d bytes", maxZipDirectory)
	}
	return l.r.ReadAt(p, off)
}

// failing is a reader that fails.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
