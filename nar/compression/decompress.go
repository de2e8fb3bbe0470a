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

	// A stream is a bomb if its output beyond the first freeOutput bytes is more than maxRatio times its input. A NAR
	// of zeros expands at most 32768:1 from zstd, 7000:1 from xz and 1032:1 from gzip; only bzip2 can exceed the limit.
	maxRatio   = 1 << 16
	freeOutput = 1 << 30

	inputBuffer = 256 << 10
)

// ErrBomb is wrapped by the error of a stream that expands too much.
var ErrBomb = errors.New("expands more than 65536:1")

// Decompress returns a reader of the decompressed contents of r, and the format of r. A stream without a known magic
// number has the format None and is passed on unchanged.
//
// If a stream is damaged, truncated (io.ErrUnexpectedEOF) or followed by anything other than another stream of its
// format, reading ends with an error, never with io.EOF. Several members, frames or streams in a row are read as one.
//
// Decompress itself reads the first 6 bytes of r, and returns the error of that read. The reader reads ahead in r by at
// most 256 KiB and, if it decompresses, fills the whole slice that is passed to Read. It uses the memory of a window or
// dictionary of at most 128 MiB (zstd) or 64 MiB (xz), and returns an error if a header requests more. Close frees that
// memory. It does not close r.
//
// If GOMAXPROCS is more than 1, blocks of xz streams whose headers have their sizes, as `xz -T` writes them, and zstd
// frames of at most 16 MiB whose headers have the size of their contents, are decoded concurrently. For this, all
// readers together use at most another 24 MiB, and read ahead by up to this amount. Blocks and frames that do not fit
// are decoded one after another. Close ends the goroutines, which never wait for r.
func Decompress(r io.Reader) (io.ReadCloser, Type, error) { return decompress(r, freeOutput, -1) }

// decompress is Decompress for contents of at most size bytes, or of any size if size is negative. free is how much of
// them may come before a stream can be a bomb.
func decompress(r io.Reader, free, size int64) (io.ReadCloser, Type, error) {
	d, err := newDecompressor(r, free, size)
	if err != nil {
		return nil, "", err
	}
	d.concurrent = true
	return d.open(d.largestWindow())
}

// DecompressWithin is like Decompress, but limits the memory of the reader, in bytes. If the stream needs more, the
// error wraps ErrMemory. Otherwise used is the maximum memory that the reader uses until Close, in bytes.
//
// It reads more than Decompress before it returns: up to 256 KiB, including the header of the first frame or block. It
// is an error if a later frame or block requests a larger window or dictionary than both the first one and 2 MiB. A
// stream that ends within the 256 KiB uses no larger ones than its contents need.
func DecompressWithin(r io.Reader, memory int64) (dec io.ReadCloser, t Type, used int64, err error) {
	return decompressWith(r, -1, freeWindow, func(used int64) error {
		if used > memory {
			return fmt.Errorf("%w: it takes %d bytes of memory, %d are left", ErrMemory, used, max(memory, 0))
		}
		return nil
	})
}

// DecompressWith is like Decompress, for contents of at most size bytes, or of any size if size is negative. It allocates
// no larger window or dictionary than such contents need, even if the stream requests one. Longer contents may be an
// error.
//
// It calls take before it allocates more than a little memory. memory is the maximum memory that the reader uses until
// Close, in bytes; for the usual windows it is less than UsualMemory. take may wait until that much is available. If it
// returns an error, DecompressWith returns it.
//
// It reads more than Decompress before it returns: the header of the first frame or block, and up to 256 KiB if size is
// negative. It is an error if a later frame or block requests a larger window or dictionary than both the first one and
// 8 MiB.
func DecompressWith(r io.Reader, size int64, take func(memory int64) error) (io.ReadCloser, Type, error) {
	dec, t, _, err := decompressWith(r, size, usualWindow, take)
	return dec, t, err
}

func decompressWith(r io.Reader, size, free int64, take func(int64) error) (dec io.ReadCloser, t Type, used int64, err error) {
	d, err := newDecompressor(r, freeOutput, size)
	if err != nil {
		return nil, "", 0, err
	}
	fitted := d.fitSmall()
	window, err := d.window()
	if err != nil {
		return nil, "", 0, err
	}
	window = max(window, fitted)
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

// buffers holds the buffers of closed decompressors. For many small streams, allocating buffers would take most of the
// time.
var buffers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, inputBuffer) }}

// recycle puts a buffer back into the pool. It must not be used any more.
func recycle(br *bufio.Reader) {
	if br != nil {
		br.Reset(nil)
		buffers.Put(br)
	}
}

func newDecompressor(r io.Reader, free, size int64) (*decompressor, error) {
	src := &source{r: r}
	if size > maxZstdWindow { // larger windows are not allowed
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

// open creates the decoder, which refuses windows and dictionaries that are larger than window.
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

// A source counts the bytes read from r and keeps r's error, which a decoder may replace with its own.
type source struct {
	r   io.Reader
	n   int64
	err error

	windows *zstdWindows // nil if windows are not lowered
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
	close    func(again bool) // again: the decoder may be reused for another stream
	out      int64            // bytes returned
	most     int64            // bytes of the largest window; 0: unknown
	size     int64            // contents that windows are large enough for, at least usualWindow; negative: any size
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

// atEnd returns io.EOF if the input ends here, too, and otherwise another error.
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
	// If a large window were not returned to the system, memory would hold two when the next stream is read.
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
