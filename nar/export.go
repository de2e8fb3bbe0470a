package nar

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// nix-store --export writes an export stream, and --import reads it (Nix, src/libstore/export-import.cc):
//
//	stream  = { u64(1) archive trailer } u64(0)
//	trailer = u64(0x4558494e) str(path) u64(n) n*str(reference) str(deriver)
//	          ( u64(0) | u64(1) str(signature) )
const (
	exportNext  = 1
	exportEnd   = 0
	exportMagic = 0x4558494e // "NIXE" in little-endian order
)

// An ExportReader reads the archives of an export stream in order, each with a [Reader] of its own that shares the
// stream's buffer. It starts no goroutine. After an error every method returns the same error. A stream that ends early
// is an [io.ErrUnexpectedEOF] inside a [FormatError]. Next returns [io.EOF] only after the stream's end mark, once it
// has found that the input ends there too.
type ExportReader struct {
	src     *source
	err     error
	archive *Reader  // the current one
	trailer *Trailer // of the current archive, once it has been read
}

// NewExportReader returns an ExportReader for r, which must contain one export stream and nothing else.
func NewExportReader(r io.Reader) *ExportReader {
	return &ExportReader{src: newSource(r)}
}

// Next skips the rest of the current archive and its trailer, and returns the Reader of the next archive, or io.EOF after
// the last. The Reader's offsets count from the start of the stream.
func (x *ExportReader) Next() (*Reader, error) {
	if x.archive != nil {
		if _, err := x.Trailer(); err != nil {
			return nil, err
		}
	}
	if x.err != nil {
		return nil, x.err
	}
	more, err := x.src.number(`1 before an archive, or 0 at the end`)
	if err != nil {
		return nil, x.fail(err)
	}
	switch more {
	case exportNext:
		x.src.pos += 8
		x.archive, x.trailer = &Reader{src: x.src, inside: true}, nil
		return x.archive, nil
	case exportEnd:
		x.src.pos += 8
		x.archive = nil
		return nil, x.fail(x.src.checkEnd("the export stream"))
	}
	return nil, x.fail(x.src.bad(0, fmt.Errorf("want 1 before an archive, or 0 at the end, got %d", more)))
}

// Trailer skips the rest of the current archive and returns what the stream says about it.
func (x *ExportReader) Trailer() (*Trailer, error) {
	if x.err != nil {
		return nil, x.err
	}
	if x.archive == nil {
		return nil, x.fail(errors.New("nar: read: no archive comes before the trailer"))
	}
	if x.trailer == nil {
		for x.archive.err == nil {
			_, _ = x.archive.Next() // its error stays in the Reader
		}
		if x.archive.err != io.EOF {
			return nil, x.fail(x.archive.err)
		}
		t, err := x.src.trailer()
		if err != nil {
			return nil, x.fail(err)
		}
		x.trailer = t
	}
	return x.trailer, nil
}

func (x *ExportReader) fail(err error) error {
	x.err = err
	return err
}

// An ExportWriter writes an export stream, each archive with a [Writer] of its own that shares the stream's buffer of 256
// KiB. It never writes a malformed stream: calls that would make one fail. After an error every method returns the same
// error.
type ExportWriter struct {
	sink    *sink
	err     error
	archive *Writer // its trailer has not been written yet
	closed  bool
}

// NewExportWriter returns an ExportWriter that writes to w.
func NewExportWriter(w io.Writer) *ExportWriter {
	return &ExportWriter{sink: newSink(w)}
}

// Next begins an archive and returns its Writer. Close that Writer before WriteTrailer. Its offsets count from the start of
// the stream.
func (x *ExportWriter) Next() (*Writer, error) {
	if err := x.between("begin an archive"); err != nil {
		return nil, err
	}
	if err := x.sink.reserve(maxHead); err != nil {
		return nil, x.fail(err)
	}
	x.sink.number(exportNext)
	x.archive = &Writer{sink: x.sink, inside: true}
	return x.archive, nil
}

// WriteTrailer ends the current archive.
func (x *ExportWriter) WriteTrailer(t *Trailer) error {
	switch {
	case x.err != nil:
		return x.err
	case x.archive == nil:
		return x.fail(errors.New("nar: write: no archive comes before the trailer"))
	case x.archive.err != nil:
		return x.fail(x.archive.err)
	case x.archive.state != closed:
		return x.fail(errors.New("nar: write: the archive before the trailer is not closed"))
	}
	err := t.check()
	if err != nil {
		err = &FormatError{Op: "write", Offset: x.sink.offset(), Err: fmt.Errorf("trailer: %w", err)}
	} else {
		err = x.sink.trailer(t)
	}
	if err != nil {
		return x.fail(err)
	}
	x.archive = nil
	return nil
}

// Close ends the stream and flushes the buffer. It fails if an archive is not complete. It does not close the output.
func (x *ExportWriter) Close() error {
	if x.closed {
		return nil
	}
	if err := x.between("close"); err != nil {
		return err
	}
	err := x.sink.reserve(maxHead)
	if err == nil {
		x.sink.number(exportEnd)
		err = x.sink.flush()
	}
	if err != nil {
		return x.fail(err)
	}
	x.closed = true
	return nil
}

// between returns an error unless an archive may begin here.
func (x *ExportWriter) between(op string) error {
	switch {
	case x.err != nil:
		return x.err
	case x.closed:
		return x.fail(fmt.Errorf("nar: write: %s: the export stream was closed", op))
	case x.archive != nil && x.archive.err != nil:
		return x.fail(x.archive.err)
	case x.archive != nil:
		return x.fail(fmt.Errorf("nar: write: %s: the previous archive has no trailer", op))
	}
	return nil
}

func (x *ExportWriter) fail(err error) error {
	x.err = err
	return err
}

// A Format is the kind of a stream.
type Format int

const (
	FormatUnknown Format = iota
	FormatNAR            // one archive
	FormatExport         // an export stream
)

// Sniff returns the kind of a stream that begins with prefix. It needs 16 bytes, or all of the stream: an export stream
// without archives has 8 bytes.
func Sniff(prefix []byte) Format {
	if len(prefix) == 8 && binary.LittleEndian.Uint64(prefix) == exportEnd {
		return FormatExport
	}
	if len(prefix) < 16 {
		return FormatUnknown
	}
	if binary.LittleEndian.Uint64(prefix) == exportNext {
		// The prefix has at least 8 bytes of an archive's magic.
		if starts(prefix[8:], tokMagic) {
			return FormatExport
		}
		return FormatUnknown
	}
	if starts(prefix, tokMagic) {
		return FormatNAR
	}
	return FormatUnknown
}

// starts reports whether b and want agree up to the length of the shorter one.
func starts(b, want []byte) bool {
	n := min(len(b), len(want))
	return string(b[:n]) == string(want[:n])
}
