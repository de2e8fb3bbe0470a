package spill

import (
	"errors"
	"fmt"
	"io"
)

// A Buffer keeps one piece of data: in memory while it is small enough, else in a File. Its memory grows with the
// bytes that arrive, whatever size is announced, and is used again after Reset.
//
// The data can be read and written in place: by Bytes while it is in memory, by ReadAt and WriteAt always.
type Buffer struct {
	opts    Options
	mem     []byte
	file    File
	size    int64
	drained int64 // leading bytes that Drain and DrainTo passed on
}

// NewBuffer returns an empty Buffer.
func NewBuffer(o Options) *Buffer { return &Buffer{opts: o} }

// keepMemory is the memory that stays allocated over a Reset, in bytes. New memory costs more than the search of an
// image: the system provides page after page, and the garbage collector keeps the old ones until it runs.
const keepMemory = 32 << 20

// readSize is how much is read at a time. It is still in the second-level cache when it is passed on.
const readSize = 256 << 10

// Reset empties the Buffer.
func (b *Buffer) Reset() error {
	if cap(b.mem) > keepMemory {
		b.mem = nil
	}
	b.mem, b.size, b.drained = b.mem[:0], 0, 0
	if b.file == nil {
		return nil
	}
	err := b.file.Close()
	b.file = nil
	if err != nil {
		return fmt.Errorf("temporary file: close: %w", err)
	}
	return nil
}

// Close frees what the Buffer keeps.
func (b *Buffer) Close() {
	if b.file != nil {
		b.file.Close()
		b.file = nil
	}
	b.mem = nil
}

// Size returns the number of bytes of the data.
func (b *Buffer) Size() int64 { return b.size }

// Memory returns how many bytes of memory the Buffer takes.
func (b *Buffer) Memory() int64 { return int64(cap(b.mem)) }

// Spilled reports whether the data is in a File.
func (b *Buffer) Spilled() bool { return b.file != nil }

// Bytes returns the data, or nil if it is in a File. The slice is valid until data is added.
func (b *Buffer) Bytes() []byte { return b.mem }

// Append adds p to the data, of which total bytes are expected.
func (b *Buffer) Append(p []byte, total int64) error {
	limit := b.opts.Limit()
	if b.file == nil && b.size+int64(len(p)) > limit {
		if err := b.spill(total); err != nil {
			return err
		}
	}
	if b.file != nil {
		if _, err := b.file.WriteAt(p, b.size); err != nil {
			return fmt.Errorf("temporary file: %w", err)
		}
	} else {
		b.grow(len(p), min(total, limit))
		b.mem = append(b.mem, p...)
	}
	b.size += int64(len(p))
	return nil
}

// spill moves the data to a File.
func (b *Buffer) spill(total int64) error {
	if b.opts.Open == nil {
		return fmt.Errorf("%w: %d bytes, at most %d in memory", ErrFull, total, b.opts.Limit())
	}
	f, err := b.opts.open()
	if err != nil {
		return err
	}
	b.file = f
	if _, err := f.WriteAt(b.mem, 0); err != nil {
		return fmt.Errorf("temporary file: %w", err)
	}
	b.mem = nil
	return nil
}

// grow makes room in memory for n bytes more. At most most bytes can come. The new capacity follows what has arrived:
// at most 8 times that after the first step. Few large steps touch less memory than many small ones.
func (b *Buffer) grow(n int, most int64) {
	if n += len(b.mem); n > cap(b.mem) {
		c := max(8*cap(b.mem), n, 1<<20)
		if int64(c) > most && most >= int64(n) {
			c = int(most)
		}
		b.mem = append(make([]byte, 0, c), b.mem...)
	}
}

// ReadSome reads some bytes from r, without a copy, and adds them to data in memory. The data has total bytes at the
// end, which must not be more than the limit.
func (b *Buffer) ReadSome(r io.Reader, total int64) error {
	b.grow(1, total)
	free := b.mem[len(b.mem):cap(b.mem)]
	n, err := r.Read(free[:min(len(free), readSize)])
	b.mem = b.mem[:len(b.mem)+n]
	b.size += int64(n)
	return err
}

// Detach gives the data in memory to the caller.
func (b *Buffer) Detach() []byte {
	mem := b.mem
	b.mem = nil
	return mem
}

// Reuse gives an empty Buffer memory to use.
func (b *Buffer) Reuse(mem []byte) { b.mem = mem[:0] }

// Drain passes on the data before end that was not passed on before. The data is in memory.
func (b *Buffer) Drain(end int64, sink func([]byte) error) error {
	if end <= b.drained {
		return nil
	}
	p := b.mem[b.drained:end]
	b.drained = end
	return sink(p)
}

// DrainAll passes on all data that was not passed on before.
func (b *Buffer) DrainAll(sink func([]byte) error) error {
	if b.file == nil {
		return b.Drain(b.size, sink)
	}
	buf := make([]byte, readSize)
	for off := b.drained; off < b.size; {
		n := int(min(int64(len(buf)), b.size-off))
		if m, err := b.file.ReadAt(buf[:n], off); m < n {
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

// ReadAt implements io.ReaderAt.
func (b *Buffer) ReadAt(p []byte, off int64) (int, error) {
	if b.file != nil {
		return b.file.ReadAt(p, off)
	}
	if off < 0 || off > b.size {
		return 0, io.EOF
	}
	n := copy(p, b.mem[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements io.WriterAt. It changes the data, and does not extend it.
func (b *Buffer) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > b.size-int64(len(p)) {
		return 0, errors.New("spill: write past the end of a buffer")
	}
	if b.file != nil {
		return b.file.WriteAt(p, off)
	}
	return copy(b.mem[off:], p), nil
}
