package refs

import (
	"archive/tar"
	"archive/zip"
	"errors"
	"fmt"
	"io"

	"narseal/filter/spill"
	"narseal/nar/compression"
)

// stream looks into a compressed stream.
func (u *Unpacker) stream(r io.Reader, l layer) {
	in := &counted{r: r}
	dec, t, err := compression.Decompress(in)
	if err != nil {
		u.warn(l, err)
		return
	}
	defer dec.Close()
	u.open(u.bounded(dec, func() int64 { return in.n }), l.inside("", string(t), true))
}

// tar looks into the members of a tar archive. Names and targets are searched too.
func (u *Unpacker) tar(r io.Reader, l layer) {
	in := &counted{r: r}
	tr := tar.NewReader(in)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			u.warn(l, err)
			return
		}
		m := l.inside("!"+h.Name, "tar", false)
		u.searchName(InName, h.Name, m)
		u.searchName(InTarget, h.Linkname, m)
		if h.Typeflag == tar.TypeReg || h.Typeflag == tar.TypeGNUSparse {
			// A sparse file may be larger than the archive.
			data := u.bounded(tr, func() int64 { return in.n })
			u.open(data, m)
			if data.err != nil && data.err != io.EOF {
				return
			}
		}
	}
}

const (
	// maxZip is the size in bytes of the largest zip archive that is kept.
	maxZip = 256 << 20
	// maxZipDirectory is the size in bytes of the largest directory that is read. In memory it is several times larger.
	maxZipDirectory = 16 << 20
)

// zip looks into the members of a zip archive, which needs random access.
func (u *Unpacker) zip(r io.Reader, l layer) {
	h := spill.NewBuffer(u.Spill)
	defer h.Close()
	err := u.hold(h, r)
	var zr *zip.Reader
	if err == nil {
		in := &limitedAt{r: h, left: maxZipDirectory}
		zr, err = zip.NewReader(in, h.Size())
		in.left = 1 << 62
	}
	if err != nil {
		u.warn(l, err)
		if l.hidden {
			u.search(io.NewSectionReader(h, 0, h.Size()), l)
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
		if u.left < 0 {
			break
		}
		m := l.inside("!"+f.Name, "zip", f.Method != zip.Store)
		u.searchName(InName, f.Name, m)
		if f.FileInfo().IsDir() || f.UncompressedSize64 == 0 {
			continue
		}
		const encrypted = 1
		if f.Flags&encrypted != 0 {
			u.warn(m, skipped(errors.New("encrypted")))
			continue
		}
		rc, err := f.Open()
		if errors.Is(err, zip.ErrAlgorithm) {
			err = skipped(err)
		}
		if err != nil {
			u.warn(m, err)
			continue
		}
		u.open(u.bounded(rc, func() int64 { return int64(f.CompressedSize64) }), m)
		rc.Close()
	}
}

// hold reads all of r into h.
func (u *Unpacker) hold(h *spill.Buffer, r io.Reader) error {
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		if h.Size()+int64(n) > maxZip {
			return skipped(fmt.Errorf("a zip archive of more than %d bytes", maxZip))
		}
		if err := h.Append(buf[:n], maxZip); err != nil {
			return skipped(err)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// bounded returns a reader of what a layer expands to that fails at a limit. in returns how many packed bytes were read.
func (u *Unpacker) bounded(r io.Reader, in func() int64) *boundedReader {
	return &boundedReader{r: r, u: u, in: in}
}

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
		err = skipped(fmt.Errorf("expands more than %d:1", b.u.Ratio))
	}
	var known *onceError
	if err != nil && err != io.EOF && !errors.As(err, &known) {
		err = &onceError{err: err}
	}
	b.err = err
	return n, err
}

// counted counts the bytes that are read from it.
type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// limitedAt fails when more than left bytes are read from it.
type limitedAt struct {
	r    io.ReaderAt
	left int64
}

func (l *limitedAt) ReadAt(p []byte, off int64) (int, error) {
	if l.left -= int64(len(p)); l.left < 0 {
		return 0, skipped(fmt.Errorf("its directory has more than %d bytes", maxZipDirectory))
	}
	return l.r.ReadAt(p, off)
}

// failing is a reader that always fails.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
