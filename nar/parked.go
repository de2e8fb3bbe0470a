package nar

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// A SpillStore keeps records of deferred entries outside memory. See [Writer.ParkIn].
type SpillStore interface {
	// Full reports whether entries should be parked. About n have been completed since the last time.
	Full(n int) bool
	// New returns an empty Spill for records.
	New() (Spill, error)
	// Park moves a Spill out of memory and returns its number, which is greater than 0.
	Park(s Spill) (int64, error)
	// Open returns a reader of a parked Spill. It is called once for each, and the reader is read to its end.
	Open(number int64) io.Reader
}

// ParkIn makes the Writer park deferred entries in s when s is full. s must be able to park the Spills of all deferred
// entries. Without a SpillStore, each deferred entry takes some memory until it is written.
func (w *Writer) ParkIn(s SpillStore) { w.store = s }

const (
	// runBuffer is the size of the buffer for reading a run, and runWrite of that for writing one, in bytes.
	runBuffer = 16 << 10
	runWrite  = 64 << 10
	// maxRuns is how many runs of a level are merged into one of the next.
	maxRuns = 16
	// maxMarked is how many parked entries may be nested in entries that stay in memory.
	maxMarked = 1 << 16
	// maxPending is how many bytes of notes may wait to be written.
	maxPending = 256 << 10
)

// parkIfFull parks the complete deferred entries if there is too little memory for more. It first waits until at least
// as many entries have been completed as it has to examine, so that the cost per entry stays low.
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

// parkWaiting writes the entries that wait in memory to a run.
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

// park moves a complete entry, and all entries in it, to the store. Its depth and its name stay.
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
			return fmt.Errorf("more than %d renamed entries wait in directories that contain a sealed bundle", maxMarked)
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

// notes are the records of the parked entries nested in one entry, in order.
type notes struct {
	spill   Spill
	pending []byte // to be written to spill
}

const noteSize = 4 * 8

// note adds a parked nested entry to the notes of d.
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

// finishNotes parks the notes of d, which must be complete.
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

// maxNotesBuffers is how many levels of nested notes are read through a buffer.
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

// A run is a sorted list of parked entries that wait for their place. head is the first one.
type run struct {
	level int
	head  deferred
	r     *bufio.Reader
}

const runHead = 3*8 + 4 // and the name

// next makes the next entry the head. It returns false if there is none.
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

// add adds a parked entry.
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

// finish adds the run to the waiting runs of this level. If there are maxRuns of them, it merges them into one of the
// next level.
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

// mergeRuns merges the runs of a level into one of the next.
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
