package spill

import (
	"errors"
	"fmt"
	"io"
)

// A Buffer stores one piece of data: in memory while it is small enough, else in a File. Its memory grows with the
// bytes that arrive, not with the size that is announced, and is reused after Reset.
//
// The data can be read and written in place: through Bytes while it is in memory, and through ReadAt and WriteAt at any
// time.
type Buffer struct {
	opts    Options
	mem     []byte
	taken   int64 // bytes of the Budget, at least the capacity of mem, after Reserve
	noRoom  bool  // all data goes to the file
	file    File
	size    int64
	drained int64 // leading bytes that were passed on
}

// NewBuffer returns an empty Buffer.
func NewBuffer(o Options) *Buffer { return &Buffer{opts: o} }

// keepMemory is the maximum memory that Reset keeps allocated, in bytes. Allocating new memory would take longer than
// searching an image: the system provides it page by page, and the old memory is in use until the garbage collector
// runs.
const keepMemory = 32 << 20

// readSize is the number of bytes that are read at a time: all that an enlarged pipe holds. With less, the programs at both
// ends of a pipe are woken more often, which takes more time than the second-level cache saves.
const readSize = 1 << 20

// Reserve takes memory from the Budget for data of total bytes, before the first of it is added to an empty Buffer. If
// the data does not fit into memory, it reports false, and all of it will go to the File.
func (b *Buffer) Reserve(total int64) bool {
	need := max(total, int64(cap(b.mem)))
	b.noRoom = total > b.opts.Limit() || !b.opts.Take(need-b.taken)
	if b.noRoom {
		b.free()
	} else {
		b.taken = max(b.taken, need)
	}
	return !b.noRoom
}

// free drops the memory.
func (b *Buffer) free() {
	b.mem = nil
	b.opts.Give(b.taken)
	b.taken = 0
}

// Reset empties the Buffer.
func (b *Buffer) Reset() error {
	if cap(b.mem) > keepMemory {
		b.mem = nil
	}
	if unused := b.taken - int64(cap(b.mem)); unused > 0 {
		b.opts.Give(unused)
		b.taken -= unused
	}
	b.mem, b.size, b.drained, b.noRoom = b.mem[:0], 0, 0, false
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

// Close frees the Buffer's memory and closes its File.
func (b *Buffer) Close() {
	if b.file != nil {
		b.file.Close()
		b.file = nil
	}
	b.free()
}

// Size returns the number of bytes of the data.
func (b *Buffer) Size() int64 { return b.size }

// Memory returns the number of bytes of memory that the Buffer uses.
func (b *Buffer) Memory() int64 { return int64(cap(b.mem)) }

// Spilled reports whether the data is in a File, or will be.
func (b *Buffer) Spilled() bool { return b.file != nil || b.noRoom }

// Bytes returns the data, or nil if it is in a File. The slice is valid until data is added.
func (b *Buffer) Bytes() []byte { return b.mem }

// Append adds p to the data. total is the expected final size of the data, which limits the memory to allocate.
func (b *Buffer) Append(p []byte, total int64) error {
	limit := b.opts.Limit()
	if b.file == nil && (b.noRoom || b.size+int64(len(p)) > limit) {
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
	b.free()
	return nil
}

// grow makes room in memory for n more bytes. most is the maximum size of all data. The capacity is at most 8 times the
// bytes that have arrived, after the first step. A few large steps touch less memory than many small ones. The last step
// copies at most an eighth of the data, which is then in memory twice.
func (b *Buffer) grow(n int, most int64) {
	if n += len(b.mem); n > cap(b.mem) {
		c := int(most)
		for c/8 >= max(n, 1<<20) {
			c /= 8
		}
		if c < n {
			c = max(8*cap(b.mem), n, 1<<20)
		}
		mem := make([]byte, 0, c)
		hugePages(mem)
		b.mem = append(mem, b.mem...)
	}
}

// ReadSome reads some bytes from r directly into memory and adds them to the data. total is the final size of the data,
// which must not exceed the limit.
func (b *Buffer) ReadSome(r io.Reader, total int64) error {
	b.grow(1, total)
	free := b.mem[len(b.mem):cap(b.mem)]
	n, err := r.Read(free[:min(len(free), readSize)])
	b.mem = b.mem[:len(b.mem)+n]
	b.size += int64(n)
	return err
}

// Detached is memory that was detached from a Buffer.
type Detached struct {
	Bytes []byte
	Taken int64 // bytes of the Budget
}

// Detach returns the data in memory, which then belongs to the caller.
func (b *Buffer) Detach() Detached {
	m := Detached{b.mem, b.taken}
	b.mem, b.taken = nil, 0
	return m
}

// Reuse gives memory to an empty Buffer that has none.
func (b *Buffer) Reuse(m Detached) { b.mem, b.taken = m.Bytes[:0], m.Taken }

// Drain passes the data before offset end that was not yet passed on to sink. The data must be in memory.
func (b *Buffer) Drain(end int64, sink func([]byte) error) error {
	if end <= b.drained {
		return nil
	}
	p := b.mem[b.drained:end]
	b.drained = end
	return sink(p)
}

// DrainAll passes all data that was not yet passed on to sink.
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

// WriteAt implements io.WriterAt. It changes data, but cannot extend it.
func (b *Buffer) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > b.size-int64(len(p)) {
		return 0, errors.New("spill: write past the end of a buffer")
	}
	if b.file != nil {
		return b.file.WriteAt(p, off)
	}
	return copy(b.mem[off:], p), nil
}
