package nar

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// A SpillStore keeps out of memory what is noted of deferred entries. See [Writer.ParkIn].
type SpillStore interface {
	// Full reports whether entries should be parked. About n have been completed since that was done last.
	Full(n int) bool
	// New returns an empty Spill for notes.
	New() (Spill, error)
	// Park moves a Spill out of memory and returns a number for it, more than 0.
	Park(s Spill) (int64, error)
	// Open returns what was written to a Spill that was parked. It is called once, and the data is read to its end.
	Open(number int64) io.Reader
}

// ParkIn makes the Writer park deferred entries in s when s is full. The Spills of all deferred entries must be ones
// that s can park. Without a SpillStore, a deferred entry takes some memory until its place comes.
func (w *Writer) ParkIn(s SpillStore) { w.store = s }

const (
	// runBuffer is the size of the buffer for a run that is read, and runWrite of that for the one that is written, in
	// bytes.
	runBuffer = 16 << 10
	runWrite  = 64 << 10
	// maxRuns is how many runs of a level there are before they become one of the next.
	maxRuns = 16
	// maxMarked is how many parked entries are nested in ones that stay in memory.
	maxMarked = 1 << 16
	// maxPending is how many bytes of notes wait to be written.
	maxPending = 256 << 10
)

// parkIfFull parks the deferred entries that are complete if there is too little memory for more. It waits for as many as
// it has to look at, so that all entries together cost little.
func (w *Writer) parkIfFull() error {
	if w.store == nil || w.completed < len(w.waiting.marked)+len(w.deferring) || !w.store.Full(w.completed) {
		return nil
	}
	w.completed = 0
	if err := w.parkWaiting(); err != nil {
		return err
	}
	for _, d := range w.deferring {
		if d.marked {
			continue
		}
		if err := w.parkNested(d); err != nil {
			return err
		}
	}
	return nil
}

// parkWaiting makes a run of the entries that wait in memory.
func (w *Writer) parkWaiting() error {
	h := &w.waiting.heap
	if len(*h) == 0 {
		return nil
	}
	slices.SortFunc(*h, compareDeferred)
	to := runWriter{w: w}
	for i, d := range *h {
		if err := w.park(d); err != nil {
			return err
		}
		if err := to.add(d); err != nil {
			return err
		}
		w.free = append(w.free, d)
		(*h)[i] = nil
	}
	*h = (*h)[:0]
	return to.finish(0)
}

// park moves an entry that is complete to the store, with all in it. Its depth and its name stay.
func (w *Writer) park(d *deferred) error {
	if d.spill == nil {
		return nil
	}
	err := w.parkNested(d)
	if err == nil {
		err = w.finishNotes(d)
	}
	if err == nil {
		d.parked, err = w.store.Park(d.spill)
	}
	d.spill = nil
	return err
}

// parkNested parks the nested entries of d that are in memory.
func (w *Writer) parkNested(d *deferred) error {
	for _, n := range d.nested {
		if err := w.park(n.d); err != nil {
			return err
		}
		if err := w.note(d, n); err != nil {
			return err
		}
		w.free = append(w.free, n.d)
	}
	d.nested = nil
	return nil
}

// nest adds a nested entry to d, which is being written to its spill.
func (w *Writer) nest(d *deferred, n nested) error {
	if n.d.spill != nil {
		d.nested = append(d.nested, n)
		return nil
	}
	if d.marked {
		if w.copies++; w.copies > maxMarked {
			return fmt.Errorf("more than %d renamed entries wait in directories in which a bundle is sealed", maxMarked)
		}
		inner := *n.d
		inner.name = nil
		d.nested = append(d.nested, nested{at: n.at, d: &inner})
		return nil
	}
	if err := w.parkNested(d); err != nil {
		return err
	}
	return w.note(d, n)
}

// notes are the nested entries of one that are parked, one after the other.
type notes struct {
	spill   Spill
	pending []byte // to be written to spill
}

const noteSize = 4 * 8

// note adds a nested entry, which is parked, to the notes of d.
func (w *Writer) note(d *deferred, n nested) error {
	if d.notes == nil {
		spill, err := w.store.New()
		if err != nil {
			return err
		}
		d.notes = &notes{spill: spill}
	}
	if len(d.notes.pending) == 0 {
		w.pendingNotes = append(w.pendingNotes, d.notes)
	}
	p := d.notes.pending
	for _, x := range []int64{n.at, n.d.size, n.d.parked, n.d.parkedNotes} {
		p = binary.LittleEndian.AppendUint64(p, uint64(x))
	}
	d.notes.pending = p
	if w.pending += noteSize; w.pending >= maxPending {
		return w.flushNotes()
	}
	return nil
}

// flushNotes writes the notes of all entries to their spills.
func (w *Writer) flushNotes() error {
	for _, n := range w.pendingNotes {
		if _, err := n.spill.Write(n.pending); err != nil {
			return err
		}
		n.pending = nil
	}
	clear(w.pendingNotes)
	w.pendingNotes, w.pending = w.pendingNotes[:0], 0
	return nil
}

// finishNotes parks the notes of d, which is complete.
func (w *Writer) finishNotes(d *deferred) error {
	if d.notes == nil {
		return nil
	}
	if err := w.flushNotes(); err != nil {
		return err
	}
	var err error
	d.parkedNotes, err = w.store.Park(d.notes.spill)
	d.notes = nil
	return err
}

// notesReader reads notes.
type notesReader struct {
	r io.Reader
	n nested
	d deferred
}

// maxNotesBuffers is how many notes that are read inside each other have a buffer.
const maxNotesBuffers = 16

func newNotesReader(r io.Reader, level int) *notesReader {
	if level < maxNotesBuffers {
		r = bufio.NewReaderSize(r, runBuffer)
	}
	return &notesReader{r: r}
}

// next returns the next entry, which is valid until next is called again.
func (r *notesReader) next() (*nested, error) {
	var b [noteSize]byte
	if _, err := io.ReadFull(r.r, b[:]); err != nil {
		return nil, err
	}
	x := func(i int) int64 { return int64(binary.LittleEndian.Uint64(b[8*i:])) }
	r.d = deferred{size: x(1), parked: x(2), parkedNotes: x(3)}
	r.n = nested{at: x(0), d: &r.d}
	return &r.n, nil
}

// A run is parked entries that wait for their place, in order, the first of which is head.
type run struct {
	level int
	head  deferred
	r     *bufio.Reader
}

const runHead = 3*8 + 4 // and the name

// next makes the next entry the head, unless there is none.
func (r *run) next() (bool, error) {
	var b [runHead]byte
	if _, err := io.ReadFull(r.r, b[:]); err != nil {
		if err == io.EOF {
			return false, nil
		}
		return false, fmt.Errorf("nar: write: deferred entries: %w", err)
	}
	x := func(i int) int64 { return int64(binary.LittleEndian.Uint64(b[8*i:])) }
	name := slices.Grow(r.head.name[:0], int(b[26]))[:b[26]]
	if _, err := io.ReadFull(r.r, name); err != nil {
		return false, fmt.Errorf("nar: write: deferred entries: %w", err)
	}
	r.head = deferred{depth: int(binary.LittleEndian.Uint16(b[24:])), name: name, size: x(0), parked: x(1), parkedNotes: x(2)}
	return true, nil
}

// runWriter writes a run.
type runWriter struct {
	w     *Writer
	spill Spill
	buf   []byte
}

// add adds an entry, which is parked.
func (r *runWriter) add(d *deferred) error {
	if r.spill == nil {
		var err error
		if r.spill, err = r.w.store.New(); err != nil {
			return err
		}
	}
	for _, x := range []int64{d.size, d.parked, d.parkedNotes} {
		r.buf = binary.LittleEndian.AppendUint64(r.buf, uint64(x))
	}
	r.buf = binary.LittleEndian.AppendUint16(r.buf, uint16(d.depth))
	r.buf = append(r.buf, byte(len(d.name)), 0)
	r.buf = append(r.buf, d.name...)
	if len(r.buf) < runWrite {
		return nil
	}
	_, err := r.spill.Write(r.buf)
	r.buf = r.buf[:0]
	return err
}

// finish adds the run, of this level, to those that wait. If there are many of the level, they become one of the next.
func (r *runWriter) finish(level int) error {
	if _, err := r.spill.Write(r.buf); err != nil {
		return err
	}
	number, err := r.w.store.Park(r.spill)
	if err != nil {
		return err
	}
	run := &run{level: level, r: bufio.NewReaderSize(r.w.store.Open(number), runBuffer)}
	if _, err := run.next(); err != nil {
		return err
	}
	all := &r.w.waiting.runs
	*all = append(*all, run)
	n := 0
	for _, other := range *all {
		if other.level == level {
			n++
		}
	}
	if n < maxRuns {
		all.init()
		return nil
	}
	return r.w.mergeRuns(level)
}

// mergeRuns makes one run of those of a level.
func (w *Writer) mergeRuns(level int) error {
	var from waiting
	others := w.waiting.runs[:0:0]
	for _, r := range w.waiting.runs {
		if r.level == level {
			from.runs = append(from.runs, r)
		} else {
			others = append(others, r)
		}
	}
	w.waiting.runs = others
	from.runs.init()
	to := runWriter{w: w}
	for d := from.first(); d != nil; d = from.first() {
		if err := to.add(d); err != nil {
			return err
		}
		if err := from.drop(d); err != nil {
			return err
		}
	}
	return to.finish(level + 1)
}
