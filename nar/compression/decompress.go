package compression

import (
	"bufio"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
)

const (
	// maxZstdWindow is the most that `zstd --ultra -22` and `--long` ask for.
	maxZstdWindow = 128 << 20
	// maxXzDictionary is what `xz -9` asks for.
	maxXzDictionary = 64 << 20

	// A stream that expands more than maxRatio:1 over the first freeOutput
	// bytes is a bomb. A NAR of zeros is honest, and zstd makes at most 32768:1
	// of it, xz 7000:1 and gzip 1032:1; only bzip2 can go beyond.
	maxRatio   = 1 << 16
	freeOutput = 1 << 30

	inputBuffer = 256 << 10
)

// ErrBomb is wrapped by the error of a stream that expands beyond all reason.
var ErrBomb = errors.New("expands more than 65536:1")

// ErrWindow is wrapped by the error of a stream that needs a larger window or dictionary than is allowed.
var ErrWindow = errors.New("needs too much memory")

// Decompress returns a reader of what r holds, decompressed, and the
// compression that it was found in. A stream without a known magic number is
// None and is passed on as it is.
//
// A stream that is damaged, cut short (io.ErrUnexpectedEOF) or followed by
// anything but a further stream of its own kind ends in an error, never in
// io.EOF. Several members, frames or streams in a row are read as one.
//
// Decompress reads the first 6 bytes of r, and errors of doing so are returned.
// The reader reads ahead in r by at most 256 KiB, fills the whole of the slice
// that it is given where it decompresses, starts no goroutine and needs no more memory than a window
// or dictionary of 128 MiB (zstd) or 64 MiB (xz): a header that asks for more is
// refused. Close frees it and does not close r.
func Decompress(r io.Reader) (io.ReadCloser, Type, error) {
	return decompress(r, freeOutput)
}

func decompress(r io.Reader, free int64) (io.ReadCloser, Type, error) {
	src := &source{r: r}
	br := bufio.NewReaderSize(src, inputBuffer)
	head, err := br.Peek(magicSize)
	if err != nil && err != io.EOF {
		return nil, "", err
	}
	d := &decompressor{format: Detect(head), src: src, buffered: br, freeOutput: free}
	switch d.format {
	case None:
		return io.NopCloser(br), None, nil
	case Zstd:
		var dec *zstd.Decoder
		dec, err = zstd.NewReader(br, zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderMaxWindow(maxZstdWindow), zstd.WithDecoderMaxMemory(maxZstdWindow))
		if err == nil {
			d.dec, d.close = dec, dec.Close
		}
	case Xz:
		d.dec, err = xz.NewReader(br, maxXzDictionary)
	case Gzip:
		d.dec, err = newGzipReader(br)
	case Bzip2:
		d.dec = bzip2.NewReader(br)
	}
	if err != nil {
		return nil, "", d.wrap(err)
	}
	return d, d.format, nil
}

// A source keeps the error of the reader below, so that it is told from what a
// decoder makes of it, and counts.
type source struct {
	r   io.Reader
	n   int64
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.n += int64(n)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

type decompressor struct {
	format   Type
	src      *source
	buffered *bufio.Reader // over src
	dec      io.Reader     // over buffered
	close    func()
	out      int64 // bytes handed out
	err      error

	freeOutput int64
}

func (d *decompressor) Read(p []byte) (n int, err error) {
	if d.err != nil {
		return 0, d.err
	}
	for n < len(p) && err == nil {
		var m int
		m, err = d.dec.Read(p[n:])
		n += m
		d.out += int64(m)
	}
	if err == nil && (d.out-d.freeOutput)/maxRatio > d.src.n {
		err = ErrBomb
	}
	switch err {
	case nil:
		return n, nil
	case io.EOF:
		d.err = d.atEnd()
	default:
		d.err = d.wrap(err)
	}
	if n > 0 {
		return n, nil
	}
	return 0, d.err
}

// atEnd is io.EOF if the input, too, has nothing more.
func (d *decompressor) atEnd() error {
	_, err := d.buffered.ReadByte()
	switch err {
	case nil:
		return d.wrap(errors.New("trailing data"))
	case io.EOF:
		return io.EOF
	}
	return d.wrap(err)
}

func (d *decompressor) wrap(err error) error {
	switch {
	case d.src.err != nil:
		return d.src.err
	case err == io.EOF, errors.Is(err, xz.ErrBuf):
		err = io.ErrUnexpectedEOF
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, xz.ErrMemlimit):
		err = fmt.Errorf("%w: %w", ErrWindow, err)
	}
	return fmt.Errorf("decompress %s: at byte %d of the output: %w", d.format, d.out, err)
}

func (d *decompressor) Close() error {
	if d.close != nil {
		d.close()
	}
	*d = decompressor{err: fs.ErrClosed}
	return nil
}
