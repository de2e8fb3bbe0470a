package compression

import (
	"bufio"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime/debug"
	"sync"

	"github.com/mikelolasagasti/xz"
)

const (
	// maxZstdWindow is the largest window of `zstd --ultra -22` and of `--long`.
	maxZstdWindow = 128 << 20
	// maxXzDictionary is the dictionary of `xz -9`.
	maxXzDictionary = 64 << 20

	// A stream whose output past the first freeOutput bytes is more than maxRatio times its input is a bomb. A legitimate
	// NAR of zeros has at most 32768:1 as zstd, 7000:1 as xz and 1032:1 as gzip; only bzip2 can exceed the limit.
	maxRatio   = 1 << 16
	freeOutput = 1 << 30

	inputBuffer = 256 << 10
)

// ErrBomb is wrapped by the error of a stream that expands too much.
var ErrBomb = errors.New("expands more than 65536:1")

// Decompress returns a reader of the decompressed contents of r, and the format of r. A stream without a known magic
// number has the format None and is not changed.
//
// A stream that is damaged, truncated (io.ErrUnexpectedEOF) or followed by anything but another stream of its format
// ends in an error, never in io.EOF. Several members, frames or streams in a row are read as one.
//
// Decompress itself reads the first 6 bytes of r, and returns the error of that read. The reader reads ahead in r by at
// most 256 KiB and, if it decompresses, fills the whole slice that Read is given. Its memory is that of a window or
// dictionary of at most 128 MiB (zstd) or 64 MiB (xz): a header that asks for more is refused. Close frees that memory
// and does not close r.
//
// The blocks of an xz stream that has their sizes in its headers, as `xz -T` writes it, and zstd frames of at most 16 MiB
// that say how large they are, are decoded concurrently if GOMAXPROCS is more than 1. For this, all readers together use
// at most another 24 MiB, and read ahead in r by so much; what does not fit is decoded one after another. Close ends
// the goroutines, which never wait for r.
func Decompress(r io.Reader) (io.ReadCloser, Type, error) { return DecompressSized(r, -1) }

// DecompressSized is Decompress for contents of at most size bytes, or of any size if that is negative. It takes no larger
// window or dictionary than for such contents, whatever the stream asks for; longer contents may end in an error.
func DecompressSized(r io.Reader, size int64) (io.ReadCloser, Type, error) {
	return decompress(r, freeOutput, size)
}

func decompress(r io.Reader, free, size int64) (io.ReadCloser, Type, error) {
	d, err := newDecompressor(r, free, size)
	if err != nil {
		return nil, "", err
	}
	d.concurrent = true
	return d.open(d.largestWindow())
}

// DecompressWithin is Decompress with a bound on the memory that the reader takes, in bytes. A stream that asks for more
// is an error that wraps ErrMemory. Else used is the most that the reader takes until Close.
//
// It reads more than Decompress before it returns: up to 256 KiB, and the header of the first frame or block. Later ones
// that ask for a larger window or dictionary than both the first and 2 MiB end in an error; a stream that ends within the
// 256 KiB takes no larger ones than its contents need.
func DecompressWithin(r io.Reader, memory int64) (dec io.ReadCloser, t Type, used int64, err error) {
	return decompressWith(r, -1, freeWindow, func(used int64) error {
		if used > memory {
			return fmt.Errorf("%w: it takes %d bytes of memory, %d are left", ErrMemory, used, max(memory, 0))
		}
		return nil
	})
}

// DecompressWith is DecompressSized, and calls take with the most memory that the reader takes until Close, in bytes, before
// it takes more than a little. take may wait until there is so much, and its error is returned.
//
// It reads more than Decompress before it returns: the header of the first frame or block, and up to 256 KiB if the size
// is not known. Later ones that ask for a larger window or dictionary than both the first and 8 MiB end in an error.
func DecompressWith(r io.Reader, size int64, take func(memory int64) error) (io.ReadCloser, Type, error) {
	dec, t, _, err := decompressWith(r, size, usualWindow, take)
	return dec, t, err
}

func decompressWith(r io.Reader, size, free int64, take func(int64) error) (dec io.ReadCloser, t Type, used int64, err error) {
	d, err := newDecompressor(r, freeOutput, size)
	if err != nil {
		return nil, "", 0, err
	}
	d.fitSmall()
	window, err := d.window()
	if err != nil {
		return nil, "", 0, err
	}
	if d.format == Zstd || d.format == Xz {
		window = max(window, free)
	}
	d.most, d.concurrent = window, free == usualWindow
	cautious := cautiousContents(d.format, window)
	used = window + d.overhead()
	if cautious > 0 {
		used += cautious + 2*inputBuffer
	}
	if err := take(used); err != nil {
		return nil, d.format, 0, fmt.Errorf("decompress %s: %w", d.format, err)
	}
	if cautious > 0 {
		dec, t, err = d.openCautiously(window)
	} else {
		dec, t, err = d.open(window)
	}
	return dec, t, used, err
}

// buffers has the buffers of decompressors that were closed: with many small streams, making them would take most of the
// time.
var buffers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, inputBuffer) }}

// recycle gives a buffer back. Nobody reads from it any more.
func recycle(br *bufio.Reader) {
	if br != nil {
		br.Reset(nil)
		buffers.Put(br)
	}
}

func newDecompressor(r io.Reader, free, size int64) (*decompressor, error) {
	src := &source{r: r}
	if size > maxZstdWindow { // no window is larger
		size = -1
	}
	if size >= 0 {
		size = max(size, usualWindow)
		src.windows = &zstdWindows{most: uint64(size)}
	}
	br := buffers.Get().(*bufio.Reader)
	br.Reset(src)
	head, err := br.Peek(magicSize)
	if err != nil && err != io.EOF {
		return nil, err
	}
	return &decompressor{format: Detect(head), src: src, buffered: br, freeOutput: free, size: size}, nil
}

// open makes the decoder, which refuses a larger window or dictionary.
func (d *decompressor) open(window int64) (io.ReadCloser, Type, error) {
	br := d.buffered
	var err error
	switch d.format {
	case None:
		return &passed{br}, None, nil
	case Zstd:
		err = d.openZstd(br, min(window, maxZstdWindow))
	case Xz:
		err = d.openXz(br, min(window, maxXzDictionary))
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

// A source counts the bytes read from r and keeps r's error, which a decoder may replace by one of its own.
type source struct {
	r   io.Reader
	n   int64
	err error

	windows *zstdWindows // nil: none are lowered
}

func (s *source) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.r.Read(p)
	s.n += int64(n)
	if s.windows != nil {
		s.windows.pass(p[:n])
	}
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

type decompressor struct {
	format   Type
	src      *source
	buffered *bufio.Reader    // over src
	dec      io.Reader        // over buffered
	close    func(again bool) // again: it may be used for another stream
	out      int64            // bytes returned
	most     int64            // bytes of the largest window; 0: it is not known
	size     int64            // for which windows are, at least usualWindow; negative: any
	err      error

	freeOutput int64
	concurrent bool // blocks may be decoded concurrently
	serial     bool // blocks of xz are decoded one after another, with dictionaries for size
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

// atEnd returns io.EOF if the input ends here, too, and another error if it does not.
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
	}
	return fmt.Errorf("decompress %s: at byte %d of the output: %w", d.format, d.out, err)
}

func (d *decompressor) Close() error {
	if d.close != nil {
		d.close(d.reusable())
	}
	// A large window that is not returned to the system would be there twice when the next stream is read.
	large := (d.format == Zstd || d.format == Xz) && (d.most > usualWindow || d.most == 0 && d.out > usualWindow)
	recycle(d.buffered)
	*d = decompressor{err: fs.ErrClosed}
	if large {
		debug.FreeOSMemory()
	}
	return nil
}

// passed is a stream that is not compressed.
type passed struct{ buffered *bufio.Reader }

func (p *passed) Read(b []byte) (int, error) {
	if p.buffered == nil {
		return 0, fs.ErrClosed
	}
	return p.buffered.Read(b)
}

func (p *passed) WriteTo(w io.Writer) (int64, error) {
	if p.buffered == nil {
		return 0, fs.ErrClosed
	}
	return p.buffered.WriteTo(w)
}

func (p *passed) Close() error {
	recycle(p.buffered)
	p.buffered = nil
	return nil
}
