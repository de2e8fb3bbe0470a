package binarycache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"narseal/nar/binarycache/internal/budget"
	"narseal/nar/binarycache/internal/encoding"
	"narseal/nar/binarycache/internal/repeats"
	"narseal/nar/binarycache/internal/spill"
	"narseal/nar/binarycache/internal/stream"
	"narseal/nar/binarycache/narinfo"
	"narseal/nar/compression"
)

// maxFileSize returns the largest size of a file for a NAR of this size: 1 MiB and 2 % more than the NAR.
// Incompressible data grows by 0.01 % in zstd, xz and gzip, and by 1 % in bzip2.
func maxFileSize(narSize int64) int64 { return narSize + narSize/50 + 1<<20 }

// explainSize is how many more bytes of a file are read after an error, to find out whether the file is the right one.
const explainSize = 1 << 30

// A narFile is the open file of a NAR, which can be read as often as needed.
type narFile struct {
	info       *narinfo.Info
	body       io.ReadCloser
	again      io.ReaderAt   // body, if it can be read again
	kept       *spill.Buffer // the bytes read from a body that cannot, if wanted
	read       bool          // body was read before
	size       int64         // of the file; -1 before that is known
	attributes map[string]string
	memory     budget.Memory
	compressor int64 // bytes of memory that the next check takes besides those of the decoder
	repeat     *repeats.Reading
}

// openFile opens the NAR of n for the run.
func (r *run) openFile(ctx context.Context, s Store, n *narinfo.Info, keep bool, tempFile func() (TempFile, error)) (*narFile, error) {
	f, err := openFile(ctx, s, n, keep, tempFile)
	if err != nil {
		return nil, err
	}
	if f.repeat, err = r.repeats.Begin(n.URL, n.StorePath, n.NarSize, f.size); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	f.memory = r.memory
	return f, nil
}

// openFile opens the NAR of n. With keep, it can be read more than once.
func openFile(ctx context.Context, s Store, n *narinfo.Info, keep bool, tempFile func() (TempFile, error)) (*narFile, error) {
	body, o, err := s.Open(ctx, n.URL)
	if err != nil {
		return nil, err
	}
	if err := encoding.CheckNone(o.Attributes[encoding.Header]); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w: %w", n.URL, ErrMismatch, err), body.Close())
	}
	if o.Size >= 0 && n.FileSize != 0 && o.Size != n.FileSize {
		return nil, errors.Join(mismatch(n.URL, "FileSize", o.Size, n.FileSize), body.Close())
	}
	if most := maxFileSize(n.NarSize); o.Size > most {
		return nil, errors.Join(mismatch(n.URL, "size of the file", o.Size, fmt.Sprintf("at most %d for a NarSize of %d", most, n.NarSize)), body.Close())
	}
	f := &narFile{info: n, body: body, size: o.Size, attributes: o.Attributes}
	if at, ok := body.(io.ReaderAt); ok && o.Size >= 0 {
		f.again = at
	} else if keep {
		f.kept = &spill.Buffer{Open: tempFile}
	}
	return f, nil
}

// reader reads the file from its start, up to the size that it may have. Bytes from a body that cannot be read again
// are kept, and the next reader continues after them.
func (f *narFile) reader(ctx context.Context) io.Reader {
	limit := maxFileSize(f.info.NarSize)
	if f.size >= 0 {
		limit = min(limit, f.size)
	}
	var r io.Reader
	switch {
	case f.again != nil:
		r = io.NewSectionReader(f.again, 0, limit+1)
	case f.kept != nil && f.read:
		rest := io.TeeReader(f.body, f.kept)
		r = io.MultiReader(io.NewSectionReader(f.kept, 0, f.kept.Size()), rest)
	case f.kept != nil:
		r = io.TeeReader(f.body, f.kept)
	default:
		r = f.body
	}
	f.read = true
	return stream.WithContext(ctx, stream.Bound(r, limit,
		fmt.Errorf("%s: %w: the file continues past the size that it may have", f.info.URL, ErrMismatch)))
}

// content returns a reader of the file, which has been read to its end and found to be s. It is an error if the body
// has changed since.
func (f *narFile) content(ctx context.Context, s narinfo.Sum) io.ReadSeeker {
	var at io.ReaderAt = f.kept
	if f.again != nil {
		at = f.again
	}
	return stream.Same(ctx, at, s, fmt.Errorf("%s: %w, while it was read", f.info.URL, ErrChanged))
}

func (f *narFile) Close() error {
	if f.kept != nil {
		f.kept.Close()
	}
	return f.body.Close()
}

// A checkedNAR reads the contents of a NAR's file and measures both.
type checkedNAR struct {
	info     *narinfo.Info
	repeat   *repeats.Reading
	file     io.Reader // measured
	fileSum  *stream.Meter
	narSum   *stream.Meter
	dec      io.ReadCloser
	progress func(int) // may be nil
	release  func()    // returns the decoder's memory
}

// check starts reading the NAR in a file.
func (f *narFile) check(ctx context.Context) (*checkedNAR, error) {
	c := &checkedNAR{info: f.info, repeat: f.repeat, fileSum: stream.NewMeter(), narSum: stream.NewMeter(), release: func() {}}
	c.file = io.TeeReader(f.repeat.Reader(f.reader(ctx)), c.fileSum)
	dec, found, err := compression.DecompressWith(c.file, f.info.NarSize, func(n int64) (err error) {
		c.release, err = f.memory.Take(ctx, n, f.compressor)
		return err
	})
	if err == nil && found != f.info.Compression {
		dec.Close()
		err = mismatch(f.info.URL, "compression", found, f.info.Compression)
	}
	if err != nil {
		c.release()
		return nil, c.explain(err)
	}
	c.dec = dec
	return c, nil
}

func mismatch(name, what string, got, want any) error {
	return fmt.Errorf("%s: %w: %s: got %v, want %v", name, ErrMismatch, what, got, want)
}

// Len returns how many bytes are left to read, or fewer: package nar uses it to choose the size of its buffer.
func (c *checkedNAR) Len() int { return int(min(c.info.NarSize-c.narSum.N(), 1<<20)) }

// Read reads contents, but never more than NarSize bytes, however much a file expands.
func (c *checkedNAR) Read(p []byte) (int, error) {
	n, err := c.dec.Read(p)
	c.narSum.Write(p[:n])
	if c.narSum.N() > c.info.NarSize {
		return 0, mismatch(c.info.URL, "NarSize", "more", c.info.NarSize)
	}
	if often := c.repeat.At(c.narSum.N()); often != nil {
		return 0, often
	}
	if c.progress != nil {
		c.progress(n)
	}
	return n, err
}

// buffers holds buffers for copying. With many small NARs, allocating them would take much of the time.
var buffers = sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}

// finish reads the rest after a filter has returned err, and returns an error if the NAR does not match its narinfo.
func (c *checkedNAR) finish(err error) error {
	if err == nil {
		buf := buffers.Get().(*[]byte)
		_, err = io.CopyBuffer(io.Discard, struct{ io.Reader }{c}, *buf)
		buffers.Put(buf)
	}
	if err != nil {
		return c.explain(err)
	}
	if err := c.checkFile(); err != nil {
		return err
	}
	got := c.narSum.Sum()
	if got.Size != c.info.NarSize {
		return mismatch(c.info.URL, "NarSize", got.Size, c.info.NarSize)
	}
	if got.Hash != c.info.NarHash {
		return mismatch(c.info.URL, "NarHash", got, narinfo.HashText(c.info.NarHash))
	}
	return nil
}

// explain reads the rest of the file after an error. If the file does not match the narinfo, that is the reason for
// err.
func (c *checkedNAR) explain(err error) error {
	if c.info.FileHash == nil || errors.Is(err, context.Canceled) || errors.Is(err, repeats.ErrOften) {
		return err
	}
	if n, err2 := io.CopyN(io.Discard, c.file, explainSize); err2 != io.EOF || n == explainSize {
		return err
	}
	if damaged := c.checkFile(); damaged != nil {
		return fmt.Errorf("%w (%w)", damaged, err)
	}
	return err
}

func (c *checkedNAR) checkFile() error {
	got := c.fileSum.Sum()
	if want := c.info.FileSize; want != 0 && got.Size != want {
		return mismatch(c.info.URL, "FileSize", got.Size, want)
	}
	if want := c.info.FileHash; want != nil && got.Hash != *want {
		return mismatch(c.info.URL, "FileHash", got, narinfo.HashText(*want))
	}
	return nil
}

func (c *checkedNAR) Close() error {
	err := c.dec.Close()
	c.release()
	c.release = func() {}
	return err
}
