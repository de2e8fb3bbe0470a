package compression

import (
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// partMemory bounds what the parts of streams take that are decoded concurrently, of all readers together: their
	// input, their output and their windows, and the input of the parts before them.
	partMemory = 24 << 20

	// pieceSize is how much of it is allocated at once, when there are bytes for it.
	pieceSize = 256 << 10
)

// smallestPart is the least that a goroutine is begun for, in bytes of contents. Tests lower it.
var smallestPart int64 = pieceSize

// heldMemory is what is taken of partMemory.
var heldMemory atomic.Int64

// hold takes n bytes of partMemory, if there are so many.
func hold(n int64) bool {
	if heldMemory.Add(n) <= partMemory {
		return true
	}
	heldMemory.Add(-n)
	return false
}

// release gives all of n back.
func release(n *int64) {
	heldMemory.Add(-*n)
	*n = 0
}

// inPieces is how much memory n bytes take in pieces.
func inPieces(n int64) int64 { return (n/pieceSize + 1) * pieceSize }

type piece [pieceSize]byte

// pieces has the pieces that are not used at the moment. The garbage collector does not get them: their successors would
// take their place twice until it runs.
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
	taken  int64 // of them, read
	err    error // what follows them, if they are not the whole part

	// If a goroutine decodes it:
	out     chan contents
	room    chan struct{} // for a piece of output each
	more    atomic.Int32  // pieces that were taken beside those
	outErr  error         // after the last contents; set before out is closed
	current contents      // which are read
	at      int           // bytes of them that were read

	heldIn, heldOut int64 // of partMemory
}

// contents are a piece of what a part holds.
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

// readOutput reads from what a goroutine decodes.
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

// discard gives the memory back. No goroutine decodes the part any more.
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

// workers are the goroutines that decode parts of one stream. They wait for nobody but the reader, which ends them.
type workers struct {
	slow    bool          // the input is too slow for more than one part at once
	limit   time.Duration // for a byte, from which on it is slow
	running atomic.Int32
	all     sync.WaitGroup
	stopped chan struct{}
	freed   chan struct{} // there may be memory for another piece
}

func newWorkers(limit time.Duration) workers {
	return workers{limit: limit, stopped: make(chan struct{}), freed: make(chan struct{}, 1)}
}

// free reports whether one more goroutine would have a CPU.
func (w *workers) free() bool { return !w.slow && int(w.running.Load()) < runtime.GOMAXPROCS(0) }

// timed calls load, and finds out whether the input is slow.
func (w *workers) timed(p *part, load func()) {
	began := time.Now()
	load()
	w.slow = w.slow || time.Since(began) > time.Duration(p.loaded)*w.limit
}

// leastOutput is the memory for output that a part has in any case. While there is more, it takes that, too.
const leastOutput = 4 * pieceSize

// waitForRoom waits until there is memory for a piece of output. It returns false if the reader is closed.
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

// makeRoom gives back the memory of a piece of output.
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

// begin has a part of n bytes of contents decoded by what open returns. done gets the decoder if it came to the end. The
// caller has held leastOutput for it.
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
			p.out <- out // has room: see waitForRoom
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
