package spill

import (
	"encoding/binary"
	"fmt"
	"io"
)

// A tape is a File to which data is appended, and which can be read and corrected at any offset. Small pieces are
// buffered, to save system calls.
type tape struct {
	opts   Options
	file   File
	end    int64  // end of the data
	tail   []byte // the last data, which is not in file yet
	window []byte // the part of file that was read last
	from   int64  // offset of window
}

const (
	tapeStart  = 16       // data begins after 0, which means none
	tailSize   = 64 << 10 // maximum size of tail
	windowSize = 16 << 10
)

func newTape(o Options) tape { return tape{opts: o, end: tapeStart} }

// reset drops all data.
func (t *tape) reset() { t.end, t.tail, t.window = tapeStart, t.tail[:0], t.window[:0] }

// append adds p at the end.
func (t *tape) append(p []byte) error {
	long := len(p) >= tailSize/2
	if long || len(t.tail)+len(p) > tailSize {
		if err := t.flush(); err != nil {
			return err
		}
	}
	if long {
		if err := t.writeFile(p, t.end); err != nil {
			return err
		}
	} else {
		if t.tail == nil {
			t.tail = make([]byte, 0, tailSize)
		}
		t.tail = append(t.tail, p...)
	}
	t.end += int64(len(p))
	return nil
}

// flush writes the tail to the file.
func (t *tape) flush() error {
	if len(t.tail) == 0 {
		return nil
	}
	err := t.writeFile(t.tail, t.end-int64(len(t.tail)))
	t.tail = t.tail[:0]
	return err
}

func (t *tape) writeFile(p []byte, off int64) error {
	t.window = t.window[:0]
	if t.file == nil {
		f, err := t.opts.open()
		if err != nil {
			return err
		}
		t.file = f
	}
	if _, err := t.file.WriteAt(p, off); err != nil {
		return fmt.Errorf("temporary file: %w", err)
	}
	return nil
}

// put corrects data that is wholly in the tail or wholly in the file.
func (t *tape) put(p []byte, off int64) error {
	if at := off - (t.end - int64(len(t.tail))); at >= 0 {
		copy(t.tail[at:], p)
		return nil
	}
	return t.writeFile(p, off)
}

// write corrects data, which may extend from the file into the tail.
func (t *tape) write(p []byte, off int64) error {
	if n := t.end - int64(len(t.tail)) - off; n > 0 && n < int64(len(p)) {
		if err := t.put(p[:n], off); err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return t.put(p, off)
}

// head reads the head of a piece.
func (t *tape) head(at int64) (size, next int64, err error) {
	var b [pieceHead]byte
	err = t.read(b[:], at)
	return int64(binary.LittleEndian.Uint64(b[:])), int64(binary.LittleEndian.Uint64(b[8:])), err
}

// read fills p with data.
func (t *tape) read(p []byte, off int64) error {
	if flushed := t.end - int64(len(t.tail)); off+int64(len(p)) > flushed {
		n := int(max(flushed-off, 0))
		copy(p[n:], t.tail[off+int64(n)-flushed:])
		if p = p[:n]; n == 0 {
			return nil
		}
	}
	if len(p) >= windowSize {
		return t.readFile(p, off)
	}
	if off < t.from || off+int64(len(p)) > t.from+int64(len(t.window)) {
		if t.window == nil {
			t.window = make([]byte, windowSize)
		}
		t.from = off
		t.window = t.window[:min(windowSize, t.end-int64(len(t.tail))-off)]
		if err := t.readFile(t.window, off); err != nil {
			t.window = t.window[:0]
			return err
		}
	}
	copy(p, t.window[off-t.from:])
	return nil
}

func (t *tape) readFile(p []byte, off int64) error {
	n, err := t.file.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("temporary file: offset %d: %w", off+int64(n), err)
}

func (t *tape) close() {
	if t.file != nil {
		t.file.Close()
		t.file = nil
	}
}

// A chain is data in a chain of pieces. Before each piece are its length and the offset of the next piece, or 0.
type chain struct {
	first, last int64 // offsets of the first and the last piece; 0: there is none
	size        int64 // of the last piece
}

const pieceHead = 16

// extend adds data to a chain.
func (t *tape) extend(c *chain, p []byte) error {
	if c.last == 0 || c.last+pieceHead+c.size != t.end {
		at := t.end
		if err := t.finish(c, at); err != nil {
			return err
		}
		if err := t.append(make([]byte, pieceHead)); err != nil {
			return err
		}
		if c.first == 0 {
			c.first = at
		}
		c.last, c.size = at, 0
	}
	if err := t.append(p); err != nil {
		return err
	}
	c.size += int64(len(p))
	return nil
}

// finish writes the head of the last piece.
func (t *tape) finish(c *chain, next int64) error {
	if c.last == 0 {
		return nil
	}
	return t.put(head(c.size, next), c.last)
}

func head(size, next int64) []byte {
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, pieceHead), uint64(size))
	return binary.LittleEndian.AppendUint64(b, uint64(next))
}

// A chainReader reads the data of a complete chain.
type chainReader struct {
	t    *tape
	next int64 // offset of the next piece
	off  int64
	left int64
	done func() // called once at the end
}

func (r *chainReader) Read(p []byte) (int, error) {
	for r.left == 0 {
		if r.next == 0 {
			if r.done != nil {
				r.done()
				r.done = nil
			}
			return 0, io.EOF
		}
		size, next, err := r.t.head(r.next)
		if err != nil {
			return 0, err
		}
		r.off, r.left, r.next = r.next+pieceHead, size, next
	}
	p = p[:min(int64(len(p)), r.left)]
	if err := r.t.read(p, r.off); err != nil {
		return 0, err
	}
	r.off += int64(len(p))
	r.left -= int64(len(p))
	return len(p), nil
}
