package compression

import (
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// zstdFrameSize is how much of the input a frame holds, where the size of the whole is known. Nix 2.35 and later do the
// same (src/libutil/compression.cc), so that a decoder with the memory for it can decode frames in parallel.
const zstdFrameSize = 16 << 20

// ErrSize is wrapped by the error of a Write or Close after which Options.Size is not what was written.
var ErrSize = errors.New("not the size that was announced")

// A frameWriter writes Zstandard frames of zstdFrameSize, and a last one of what is left of size.
type frameWriter struct {
	w     io.Writer
	enc   *zstd.Encoder
	size  int64 // of all
	n     int64 // written
	frame int64 // what the current frame still lacks
}

func (f *frameWriter) Write(p []byte) (n int, err error) {
	if int64(len(p)) > f.size-f.n {
		return 0, fmt.Errorf("compress zstd: %w: more than %d bytes", ErrSize, f.size)
	}
	for len(p) > 0 {
		if f.frame == 0 {
			if f.n > 0 {
				if err := f.enc.Close(); err != nil {
					return n, err
				}
			}
			f.frame = min(zstdFrameSize, f.size-f.n)
			f.enc.ResetContentSize(f.w, f.frame)
		}
		m, err := f.enc.Write(p[:min(int64(len(p)), f.frame)])
		n += m
		f.n += int64(m)
		f.frame -= int64(m)
		if err != nil {
			return n, err
		}
		p = p[m:]
	}
	return n, nil
}

func (f *frameWriter) Close() error {
	if f.n != f.size {
		return fmt.Errorf("compress zstd: %w: %d bytes, want %d", ErrSize, f.n, f.size)
	}
	return f.enc.Close()
}
