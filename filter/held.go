package filter

import (
	"fmt"
	"io"

	"narseal/macho"
)

// held is the image that is being held: in memory while it is small enough,
// else in a Scratch. Its memory grows with the bytes that arrive, and serves
// the next image again.
type held struct {
	mem     []byte
	scratch Scratch
	size    int64
	out     int64 // leading bytes that were passed on already
}

// keepMemory is the memory that stays with a run between two images.
const keepMemory = 16 << 20

// reset forgets the image.
func (h *held) reset() error {
	if cap(h.mem) > keepMemory {
		h.mem = nil
	}
	h.mem, h.size, h.out = h.mem[:0], 0, 0
	if h.scratch == nil {
		return nil
	}
	err := h.scratch.Close()
	h.scratch = nil
	if err != nil {
		return fmt.Errorf("temporary file: close: %w", err)
	}
	return nil
}

func (h *held) close() {
	if h.scratch != nil {
		h.scratch.Close()
		h.scratch = nil
	}
	h.mem = nil
}

// add appends b to the image, of which total bytes are expected.
func (h *held) add(b []byte, total, limit int64, open func() (Scratch, error)) error {
	if h.scratch == nil && h.size+int64(len(b)) > limit {
		if open == nil {
			return fmt.Errorf("an image of %d bytes, at most %d can be held", total, limit)
		}
		s, err := open()
		if err != nil {
			return fmt.Errorf("temporary file: %w", err)
		}
		h.scratch = s
		if _, err := s.WriteAt(h.mem, 0); err != nil {
			return fmt.Errorf("temporary file: %w", err)
		}
		h.mem = nil
	}
	if h.scratch != nil {
		if _, err := h.scratch.WriteAt(b, h.size); err != nil {
			return fmt.Errorf("temporary file: %w", err)
		}
	} else {
		h.grow(len(b), min(total, limit))
		h.mem = append(h.mem, b...)
	}
	h.size += int64(len(b))
	return nil
}

// grow makes room in memory for n bytes more, where most bytes are the most
// that can come. What is taken follows what came, at most 8 times of it but for
// the first step: fewer steps touch less memory.
func (h *held) grow(n int, most int64) {
	if n += len(h.mem); n > cap(h.mem) {
		c := max(8*cap(h.mem), n, 1<<20)
		if int64(c) > most && most >= int64(n) {
			c = int(most)
		}
		h.mem = append(make([]byte, 0, c), h.mem...)
	}
}

// readSize is how much is read into memory at once: it is still in the
// second-level cache when it is passed on.
const readSize = 256 << 10

// readFrom reads some of an image of total bytes into memory.
func (h *held) readFrom(r io.Reader, total int64) error {
	h.grow(1, total)
	free := h.mem[len(h.mem):cap(h.mem)]
	n, err := r.Read(free[:min(len(free), readSize)])
	h.mem = h.mem[:len(h.mem)+n]
	h.size += int64(n)
	return err
}

// image is what macho works on.
func (h *held) image() macho.Image {
	if h.scratch == nil {
		return macho.Bytes(h.mem)
	}
	return scratchImage{h.scratch, h.size}
}

// passOn hands what is before end, and was not yet, to sink. It is in memory.
func (h *held) passOn(end int64, sink func([]byte) error) error {
	if end <= h.out {
		return nil
	}
	b := h.mem[h.out:end]
	h.out = end
	return sink(b)
}

// writeTo hands the rest of the image to sink.
func (h *held) writeTo(sink func([]byte) error) error {
	if h.scratch == nil {
		return h.passOn(h.size, sink)
	}
	buf := make([]byte, readSize)
	for off := h.out; off < h.size; {
		n := int(min(int64(len(buf)), h.size-off))
		if m, err := h.scratch.ReadAt(buf[:n], off); m < n {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("temporary file: offset %d: %w", off, err)
		}
		if err := sink(buf[:n]); err != nil {
			return err
		}
		off += int64(n)
	}
	return nil
}

type scratchImage struct {
	Scratch
	size int64
}

func (s scratchImage) Size() int64 { return s.size }
