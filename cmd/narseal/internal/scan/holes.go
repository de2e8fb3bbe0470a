package scan

import (
	"io"
	"math"
	"os"
)

// A HoleReader reads a regular file from its start, and can skip holes. It implements refs.SparseReader.
type HoleReader struct {
	f       *os.File
	r       io.Reader // reads f
	size    int64
	skipped func(n int64)

	at   int64 // bytes read or skipped
	data int64 // known end of the data at the current position
}

// NewHoleReader returns a reader of f, which has size bytes. It reads through r, and calls skipped with the number of
// bytes that it skips.
func NewHoleReader(f *os.File, size int64, r io.Reader, skipped func(n int64)) *HoleReader {
	return &HoleReader{f: f, r: r, size: size, skipped: skipped}
}

func (h *HoleReader) Read(p []byte) (int, error) {
	if h.at < h.data {
		p = p[:min(int64(len(p)), h.data-h.at)]
	}
	n, err := h.r.Read(p)
	h.at += int64(n)
	return n, err
}

// Hole returns the length in bytes of the hole at the current position, or 0.
func (h *HoleReader) Hole() (int64, error) {
	if h.at < h.data {
		return 0, nil
	}
	if h.at >= h.size { // the file has grown
		h.data = math.MaxInt64
		return 0, nil
	}
	from, to, err := NextData(h.f, h.at, h.size)
	if err != nil {
		return 0, err
	}
	if _, err := h.f.Seek(h.at, io.SeekStart); err != nil {
		return 0, err
	}
	if from > h.at {
		return from - h.at, nil
	}
	h.data = to
	return 0, nil
}

// Skip skips n bytes of a hole.
func (h *HoleReader) Skip(n int64) error {
	h.at += n
	h.skipped(n)
	_, err := h.f.Seek(h.at, io.SeekStart)
	return err
}
