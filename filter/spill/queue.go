package spill

import (
	"errors"
	"fmt"
	"io"
)

// A Queue keeps many items that are written once and read once: together in memory up to the limit, beyond it in one
// File. The limit includes what is noted about each item. It serves one goroutine.
type Queue struct {
	opts Options
	used int64 // bytes in memory
	live int   // items that were not read
	file File
	end  int64  // of the data in file
	buf  []byte // for copy; nil while one runs
}

// NewQueue returns an empty Queue.
func NewQueue(o Options) *Queue { return &Queue{opts: o} }

// An Item is one piece of data of a Queue.
type Item struct {
	q       *Queue
	mem     []byte
	extents []extent // of the file; they follow mem
}

// extent is a part of a file.
type extent struct{ start, end int64 }

const (
	// itemMemory is what an item takes besides its data, here and in package nar, in bytes: 345 were measured.
	itemMemory = 384
	// freeItems is what the items may take in any case, in bytes.
	freeItems = 8 << 20
)

// New returns a new, empty item. It fails if so many items wait that what is noted about them is more than the limit.
func (q *Queue) New() (*Item, error) {
	if limit := q.opts.Limit() + freeItems; int64(q.live+1)*itemMemory > limit {
		return nil, fmt.Errorf("%w: %d renamed entries wait for their place, which takes %d bytes of memory", ErrFull, q.live, limit)
	}
	q.live++
	return &Item{q: q}, nil
}

// Write adds data to the item.
func (i *Item) Write(p []byte) (int, error) {
	q := i.q
	if len(i.extents) == 0 && q.used+int64(len(p))+int64(q.live)*itemMemory <= q.opts.Limit() {
		i.mem = append(i.mem, p...)
		q.used += int64(len(p))
		return len(p), nil
	}
	if q.file == nil {
		if q.opts.Open == nil {
			return 0, fmt.Errorf("%w: renamed entries of more than %d bytes wait for their place", ErrFull, q.opts.Limit())
		}
		var err error
		if q.file, err = q.opts.open(); err != nil {
			return 0, err
		}
	}
	n, err := q.file.WriteAt(p, q.end)
	if err != nil {
		return n, fmt.Errorf("temporary file: %w", err)
	}
	if k := len(i.extents); k > 0 && i.extents[k-1].end == q.end {
		i.extents[k-1].end += int64(n)
	} else {
		i.extents = append(i.extents, extent{q.end, q.end + int64(n)})
	}
	q.end += int64(n)
	return n, nil
}

// WriteTo writes the item to w, and frees what it took. It is called once.
func (i *Item) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(i.mem)
	written := int64(n)
	for _, x := range i.extents {
		if err != nil {
			break
		}
		size := x.end - x.start
		var m int64
		m, err = i.q.copy(w, x)
		written += m
		if err == nil && m < size {
			err = fmt.Errorf("temporary file: offset %d: %w", x.start+m, io.ErrUnexpectedEOF)
		}
	}
	i.q.used -= int64(len(i.mem))
	i.mem, i.extents = nil, nil
	if i.q.live--; i.q.live == 0 {
		i.q.end = 0
	}
	return written, err
}

// ReadAt implements io.ReaderAt.
func (i *Item) ReadAt(p []byte, off int64) (int, error) {
	n, err := i.each(p, off, func(part []byte, at int64) (int, error) { return i.q.file.ReadAt(part, at) }, func(part, mem []byte) { copy(part, mem) })
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

// WriteAt implements io.WriterAt. It changes the data, and does not extend it.
func (i *Item) WriteAt(p []byte, off int64) (int, error) {
	n, err := i.each(p, off, func(part []byte, at int64) (int, error) { return i.q.file.WriteAt(part, at) }, func(part, mem []byte) { copy(mem, part) })
	if err == nil && n < len(p) {
		err = errors.New("spill: write past the end of an item")
	}
	return n, err
}

// each calls inFile or inMemory for the parts of p, which is the data of the item from off on, as far as there is data.
func (i *Item) each(p []byte, off int64, inFile func([]byte, int64) (int, error), inMemory func(part, mem []byte)) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("spill: offset %d", off)
	}
	done := 0
	if size := int64(len(i.mem)); off < size {
		done = int(min(int64(len(p)), size-off))
		inMemory(p[:done], i.mem[off:])
		off = size
	}
	off -= int64(len(i.mem))
	for _, x := range i.extents {
		size := x.end - x.start
		if off >= size {
			off -= size
			continue
		}
		n := int(min(int64(len(p)-done), size-off))
		if n == 0 {
			break
		}
		m, err := inFile(p[done:done+n], x.start+off)
		done += m
		if m < n {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return done, fmt.Errorf("temporary file: offset %d: %w", x.start+off, err)
		}
		off = 0
	}
	return done, nil
}

// copy copies a part of the file to w, whose Write may read another item.
func (q *Queue) copy(w io.Writer, x extent) (int64, error) {
	buf := q.buf
	if q.buf = nil; buf == nil {
		buf = make([]byte, 32<<10)
	}
	n, err := io.CopyBuffer(w, io.NewSectionReader(q.file, x.start, x.end-x.start), buf)
	q.buf = buf
	return n, err
}

// Close frees what the Queue keeps.
func (q *Queue) Close() {
	if q.file != nil {
		q.file.Close()
		q.file = nil
	}
}
