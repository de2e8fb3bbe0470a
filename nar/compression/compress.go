package compression

import (
	"fmt"
	"io"
	"runtime"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Options are the options of Compress. The zero value means the default level, on all cores.
type Options struct {
	// Level is 1–22 for zstd, mapped to the encoder's four levels; 1–9 for gzip; and 1–9 for xz, where it sets the size of
	// the dictionary, 1–64 MiB as in the xz program. 0 is the default: zstd 3, gzip 6, xz 6.
	Level int

	// Workers is the maximum number of cores to use; 0 means all. gzip uses one.
	Workers int

	// Size, if not 0, is the exact number of bytes that will be written. zstd then writes frames of 16 MiB with their
	// sizes, like Nix 2.35, which can be decoded in parallel.
	Size int64
}

// Compress returns a writer that compresses the data written to it and writes the result to w.
//
// Close finishes the stream. It does not close w. Do not close an incomplete stream, since it would look complete; the
// writer needs no other cleanup.
func Compress(w io.Writer, t Type, o Options) (io.WriteCloser, error) {
	if err := o.check(t); err != nil {
		return nil, err
	}
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	switch t {
	case Zstd:
		level := zstd.SpeedDefault
		if o.Level != 0 {
			level = zstd.EncoderLevelFromZstd(o.Level)
		}
		enc, err := zstd.NewWriter(w, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(o.Workers))
		if err != nil || o.Size == 0 {
			return enc, err
		}
		return &frameWriter{w: w, enc: enc, size: o.Size}, nil
	case Xz:
		return newXzWriter(w, o), nil
	case Gzip:
		if o.Level == 0 {
			o.Level = gzip.DefaultCompression
		}
		return gzip.NewWriterLevel(w, o.Level)
	}
	return nopCloser{w}, nil
}

// Memory returns the maximum memory of the writer that Compress returns, in bytes. The numbers were measured and rounded
// up.
func (o Options) Memory(t Type) int64 {
	if o.check(t) != nil {
		return 0
	}
	workers := int64(o.Workers)
	if workers == 0 {
		workers = int64(runtime.GOMAXPROCS(0))
	}
	switch t {
	case Zstd:
		if o.Level != 0 && zstd.EncoderLevelFromZstd(o.Level) > zstd.SpeedDefault {
			return 52 << 20
		}
		return 20 << 20
	case Xz:
		x := newXzWriter(nil, o)
		return workers*xzEncoderMemory(x.dict) + int64(x.blockSize) // the block that is being filled
	case Gzip:
		return 2 << 20
	}
	return 0
}

// xzEncoderMemory returns the memory of an encoder with a dictionary of dict bytes, and of its block.
func xzEncoderMemory(dict int) int64 { return max(15<<20, 9*int64(dict)) }

func (o Options) check(t Type) error {
	maximum := 0
	switch t {
	case None:
	case Zstd:
		maximum = 22
	case Xz, Gzip:
		maximum = 9
	case Bzip2:
		return fmt.Errorf("compress %s: only reading is supported", t)
	default:
		return fmt.Errorf("compress: unsupported compression %q", t)
	}
	if o.Level < 0 || o.Level > maximum {
		return fmt.Errorf("compress %s: level %d is not in 0–%d", t, o.Level, maximum)
	}
	if o.Size < 0 {
		return fmt.Errorf("compress %s: a size of %d bytes", t, o.Size)
	}
	if o.Workers < 0 {
		return fmt.Errorf("compress %s: %d workers", t, o.Workers)
	}
	return nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
