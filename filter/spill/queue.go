package spill

import (
	"errors"
	"fmt"
	"io"
)

// A Queue stores many items that are written once and read once: in memory up to the limit for all items together,
// beyond that in one File. The limit includes the memory for each item itself, except for parked items, which are
// wholly in the File. A Queue must not be used concurrently.
type Queue struct {
	opts   Options
	used   int64   // bytes in memory
	taken  int64   // bytes of the Budget
	live   int     // items that are neither parked nor read
	parked int     // items that are parked and not yet read
	free   []*Item // for reuse
	tape   tape
	buf    []byte // for copy; nil while a copy is running
	copies int    // number of nested copies
}

// NewQueue returns an empty Queue.
func NewQueue(o Options) *Queue { return &Queue{opts: o, tape: newTape(o)} }

// An Item is one piece of data of a Queue.
type Item struct {
	q     *Queue
	mem   []byte
	chain chain // data in the file, which follows that in mem
	long  bool  // all data goes to the file
}

const (
	// itemMemory is the memory of an item without its data, here and in package nar, in bytes. 345 were measured.
	itemMemory = 384
	// freeItems is the memory that items may always use, in bytes.
	freeItems = 8 << 20
	// maxKept is the maximum memory for data that a reused item keeps, in bytes.
	maxKept = 256
	// minParked is the minimum number of items to park together, since parking needs a buffer.
	minParked = 1024
	// freeMemory is the memory of items that is not taken from the Budget, and takeStep is what is taken from it at a
	// time, in bytes.
	freeMemory = 2 << 20
	takeStep   = 1 << 20
)

// New returns a new, empty item. It returns an error if the items that are not parked use more memory than the limit,
// even without their data.
func (q *Queue) New() (*Item, error) {
	if limit := q.opts.Limit() + freeItems; int64(q.live+1)*itemMemory > limit {
		return nil, fmt.Errorf("%w: %d renamed entries wait for their place, which takes %d bytes of memory", ErrFull, q.live, limit)
	}
	q.live++
	if n := len(q.free) - 1; n >= 0 {
		i := q.free[n]
		q.free = q.free[:n]
		return i, nil
	}
	return &Item{q: q}, nil
}

// NewInFile returns a new, empty item whose data goes directly to the File.
func (q *Queue) NewInFile() *Item {
	q.live++
	return &Item{q: q, long: true}
}

// Full reports whether items should be parked, of which there are at most n: without their data, they use more than a
// quarter of the memory that New allows, or more than the Budget has. Their data may use as much again, and the heap
// grows to twice the total before it is collected.
func (q *Queue) Full(n int) bool {
	return q.opts.Open != nil && n >= minParked && (int64(q.live)*itemMemory > (q.opts.Limit()+freeItems)/4 || !q.room(0))
}

// room takes memory from the Budget for the items and n more bytes of data, and reports whether it has enough.
func (q *Queue) room(n int64) bool {
	for q.used+int64(q.live)*itemMemory+n-freeMemory > q.taken {
		if !q.opts.Take(takeStep) {
			return false
		}
		q.taken += takeStep
	}
	return true
}

// Write adds data to the item.
func (i *Item) Write(p []byte) (int, error) {
	q := i.q
	if !i.long && i.chain.first == 0 && q.used+int64(len(p))+int64(q.live)*itemMemory <= q.opts.Limit() && q.room(int64(len(p))) {
		i.mem = append(i.mem, p...)
		q.used += int64(len(p))
		return len(p), nil
	}
	if q.opts.Open == nil {
		return 0, fmt.Errorf("%w: renamed entries of more than %d bytes wait for their place", ErrFull, q.opts.Limit())
	}
	if err := q.tape.extend(&i.chain, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// WriteTo writes the item to w, and frees its memory. It must be called only once.
func (i *Item) WriteTo(w io.Writer) (int64, error) {
	q := i.q
	n, err := w.Write(i.mem)
	written := int64(n)
	if i.chain.first != 0 {
		if err == nil {
			err = q.tape.finish(&i.chain, 0)
		}
		if err == nil {
			var m int64
			m, err = q.copy(w, &chainReader{t: &q.tape, next: i.chain.first})
			written += m
		}
	}
	i.release()
	q.settle()
	return written, err
}

// release frees the memory of an item.
func (i *Item) release() {
	i.q.used -= int64(len(i.mem))
	i.mem = nil
	i.q.live--
}

// ReadAt implements io.ReaderAt.
func (i *Item) ReadAt(p []byte, off int64) (int, error) {
	n, err := i.each(p, off, i.q.tape.read, func(part, mem []byte) { copy(part, mem) })
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

// WriteAt implements io.WriterAt. It changes data, but cannot extend it.
func (i *Item) WriteAt(p []byte, off int64) (int, error) {
	n, err := i.each(p, off, i.q.tape.write, func(part, mem []byte) { copy(mem, part) })
	if err == nil && n < len(p) {
		err = errors.New("spill: write past the end of an item")
	}
	return n, err
}

// each calls inFile or inMemory for the parts of p that correspond to the data of the item from offset off on.
func (i *Item) each(p []byte, off int64, inFile func([]byte, int64) error, inMemory func(part, mem []byte)) (int, error) {
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
	for at := i.chain.first; at != 0 && done < len(p); {
		size, next := i.chain.size, int64(0)
		if at != i.chain.last {
			var err error
			if size, next, err = i.q.tape.head(at); err != nil {
				return done, err
			}
		}
		if off < size {
			n := int(min(int64(len(p)-done), size-off))
			if err := inFile(p[done:done+n], at+pieceHead+off); err != nil {
				return done, err
			}
			done += n
			off = size
		}
		off -= size
		at = next
	}
	return done, nil
}

// settle drops the data of the file when no item needs it.
func (q *Queue) settle() {
	if q.live == 0 && q.parked == 0 {
		q.tape.reset()
		q.giveBack()
	}
}

// maxCopies is the maximum number of nested copies that use large buffers.
const maxCopies = 16

// copy copies from the file to w, whose Write may read another item.
func (q *Queue) copy(w io.Writer, from io.Reader) (int64, error) {
	buf := q.buf
	if q.buf = nil; buf == nil {
		size := 32 << 10
		if q.copies >= maxCopies {
			size = 1 << 10
		}
		buf = make([]byte, size)
	}
	q.copies++
	n, err := io.CopyBuffer(w, from, buf)
	if q.copies--; q.copies < maxCopies {
		q.buf = buf
	}
	return n, err
}

// Park moves a complete item to the file, and frees it for reuse by New. It returns a positive number for Open.
func (q *Queue) Park(i *Item) (int64, error) {
	first := i.chain.first
	if err := q.tape.finish(&i.chain, 0); err != nil {
		return 0, err
	}
	if len(i.mem) > 0 || first == 0 {
		next := first
		first = q.tape.end
		if err := q.tape.append(head(int64(len(i.mem)), next)); err != nil {
			return 0, err
		}
		if err := q.tape.append(i.mem); err != nil {
			return 0, err
		}
	}
	mem := i.mem
	i.release()
	q.parked++
	if *i = (Item{q: q}); cap(mem) <= maxKept {
		i.mem = mem[:0]
	}
	q.free = append(q.free, i)
	return first, nil
}

// Open returns the data of a parked item. The data must be read once, to its end.
func (q *Queue) Open(number int64) io.Reader {
	return &chainReader{t: &q.tape, next: number, done: func() {
		q.parked--
		q.settle()
	}}
}

// Close closes the Queue's File, and returns its memory to the Budget.
func (q *Queue) Close() {
	q.tape.close()
	q.giveBack()
}

func (q *Queue) giveBack() {
	q.opts.Give(q.taken)
	q.taken = 0
}
