package compression

import (
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// partMemory is the maximum memory of parts that are decoded concurrently, for all readers together, in bytes:
	// their input, their output and their windows, and the input of the parts before them.
	partMemory = 24 << 20

	// pieceSize is the size of the pieces in which it is allocated, as bytes arrive.
	pieceSize = 256 << 10
)

// smallestPart is the minimum size of the contents for which a goroutine is started, in bytes. Tests lower it.
var smallestPart int64 = pieceSize

// heldMemory is the part of partMemory that is in use.
var heldMemory atomic.Int64

// hold takes n bytes of partMemory, and reports whether that many are free.
func hold(n int64) bool {
	if heldMemory.Add(n) <= partMemory {
		return true
	}
	heldMemory.Add(-n)
	return false
}

// release returns n bytes, and sets n to 0.
func release(n *int64) {
	heldMemory.Add(-*n)
	*n = 0
}

// inPieces returns the memory of n bytes in pieces.
func inPieces(n int64) int64 { return (n/pieceSize + 1) * pieceSize }

type piece [pieceSize]byte

// pieces holds unused pieces for reuse. If they were left to the garbage collector, new pieces would double the memory
// until it runs.
var pieces pieceList

type pieceList struct {
	sync.Mutex
	free []*piece
}

func (l *pieceList) get() *piece {
	l.Lock()
	defer l.Unlock()
	if n := len(l.free); n > 0 {
		p := l.free[n-1]
		l.free = l.free[:n-1]
		return p
	}
	return new(piece)
}

func (l *pieceList) put(p *piece) {
	l.Lock()
	defer l.Unlock()
	l.free = append(l.free, p)
}

// A part is a block or a frame of a stream, in memory. Read returns its input.
type part struct {
	input  []*piece
	loaded int64 // bytes of input
	taken  int64 // bytes of input that were read
	err    error // error after the input, if it is not the whole part

	// Only if a goroutine decodes the part:
	out     chan contents
	room    chan struct{} // one element for each free piece of output
	more    atomic.Int32  // pieces that were taken besides those of room
	outErr  error         // after the last contents; set before out is closed
	current contents      // that are being read
	at      int           // bytes of current that were read

	heldIn, heldOut int64 // of partMemory
}

// contents is a piece of the contents of a part.
type contents struct {
	*piece
	n int
}

// load reads n more bytes from in.
func (p *part) load(in io.Reader, n int64) {
	for end := p.loaded + n; p.loaded < end && p.err == nil; {
		at := p.loaded % pieceSize
		if at == 0 {
			p.input = append(p.input, pieces.get())
		}
		var m int
		m, p.err = in.Read(p.input[len(p.input)-1][at:min(pieceSize, at+end-p.loaded)])
		p.loaded += int64(m)
	}
}

func (p *part) Read(b []byte) (int, error) {
	if p.taken == p.loaded {
		if p.err == nil {
			return 0, io.EOF
		}
		return 0, p.err
	}
	current, at := &p.input[p.taken/pieceSize], p.taken%pieceSize
	n := copy(b[:min(int64(len(b)), p.loaded-p.taken)], (*current)[at:])
	if p.taken += int64(n); p.taken == p.loaded || p.taken%pieceSize == 0 {
		pieces.put(*current)
		*current = nil
		heldMemory.Add(-pieceSize)
		p.heldIn -= pieceSize
	}
	return n, nil
}

// readOutput reads contents that a goroutine decodes.
func (w *workers) readOutput(p *part, b []byte) (int, error) {
	for p.at == p.current.n {
		if p.current.piece != nil {
			pieces.put(p.current.piece)
			w.makeRoom(p)
		}
		var more bool
		p.current, more = <-p.out
		if p.at = 0; !more {
			return 0, p.outErr
		}
	}
	n := copy(b, p.current.piece[p.at:p.current.n])
	p.at += n
	return n, nil
}

// discard returns the memory of the part. No goroutine may be decoding the part.
func (p *part) discard() {
	for _, x := range p.input {
		if x != nil {
			pieces.put(x)
		}
	}
	if p.out != nil {
		for x := range p.out {
			pieces.put(x.piece)
		}
	}
	if p.current.piece != nil {
		pieces.put(p.current.piece)
	}
	release(&p.heldIn)
	release(&p.heldOut)
	heldMemory.Add(-pieceSize * int64(p.more.Swap(0)))
}

// workers are the goroutines that decode parts of one stream. They wait only for the reader, which ends them.
type workers struct {
	slow    bool          // the input is too slow for decoding parts concurrently
	limit   time.Duration // the input is slow if a byte takes longer
	running atomic.Int32
	all     sync.WaitGroup
	stopped chan struct{}
	freed   chan struct{} // there may be memory for another piece
}

func newWorkers(limit time.Duration) workers {
	return workers{limit: limit, stopped: make(chan struct{}), freed: make(chan struct{}, 1)}
}

// free reports whether a CPU is free for another goroutine.
func (w *workers) free() bool { return !w.slow && int(w.running.Load()) < runtime.GOMAXPROCS(0) }

// timed calls load, and measures whether the input is slow.
func (w *workers) timed(p *part, load func()) {
	began := time.Now()
	load()
	w.slow = w.slow || time.Since(began) > time.Duration(p.loaded)*w.limit
}

// leastOutput is the minimum memory for the output of a part, in bytes. A part uses more while more is free.
const leastOutput = 4 * pieceSize

// waitForRoom waits for the memory for a piece of output. It returns false if the reader is closed.
func (w *workers) waitForRoom(p *part) bool {
	for {
		select {
		case <-p.room:
			return true
		case <-w.stopped:
			return false
		default:
		}
		if hold(pieceSize) {
			p.more.Add(1)
			return true
		}
		select {
		case <-p.room:
			return true
		case <-w.freed:
		case <-w.stopped:
			return false
		}
	}
}

// makeRoom returns the memory of a piece of output.
func (w *workers) makeRoom(p *part) {
	if p.more.Load() == 0 {
		p.room <- struct{}{}
		return
	}
	p.more.Add(-1)
	heldMemory.Add(-pieceSize)
	select {
	case w.freed <- struct{}{}:
	default:
	}
}

// begin starts a goroutine that decodes a part, which has n bytes of contents, with the decoder that open returns. If
// the decoder reaches the end, it is passed to done. The caller must have held leastOutput for the part.
func (w *workers) begin(p *part, n int64, open func() (io.Reader, error), done func(io.Reader)) {
	p.out = make(chan contents, n/pieceSize+2)
	p.room = make(chan struct{}, leastOutput/pieceSize)
	for range cap(p.room) {
		p.room <- struct{}{}
	}
	w.running.Add(1)
	w.all.Go(func() {
		dec, err := open()
		for err == nil && w.waitForRoom(p) {
			out := contents{piece: pieces.get()}
			for err == nil && out.n < pieceSize {
				var m int
				m, err = dec.Read(out.piece[out.n:])
				out.n += m
			}
			p.out <- out // does not block: see waitForRoom
		}
		if p.outErr = err; err == io.EOF {
			done(dec)
		}
		release(&p.heldIn)
		w.running.Add(-1)
		close(p.out)
	})
}

// end stops the goroutines and waits for them.
func (w *workers) end() {
	close(w.stopped)
	w.all.Wait()
}
