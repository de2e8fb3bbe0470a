package compression

import (
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// zstdFrameSize is the size of the contents of a frame if the total size is known. Nix 2.35 and later do the same
// (src/libutil/compression.cc), so that a decoder with enough memory can decode frames in parallel.
const zstdFrameSize = 16 << 20

// ErrSize is wrapped by the error of a Write or Close if the number of bytes written differs from Options.Size.
var ErrSize = errors.New("not the size that was announced")

// A frameWriter writes Zstandard frames of zstdFrameSize bytes, and a last frame with the rest.
type frameWriter struct {
	w     io.Writer
	enc   *zstd.Encoder
	size  int64 // of all contents
	n     int64 // written
	frame int64 // bytes that the current frame still needs
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
