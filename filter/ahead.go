package filter

import (
	"runtime"

	"narseal/macho"
)

// ahead verifies images on other goroutines while a run that only looks reads
// on. What it found is told in the archive's order, by the run's goroutine.
type ahead struct {
	slots chan struct{} // one for each image that is being hashed
	queue []*pending
	bytes int64 // of memory that the queue's images take
	spare [][]byte
	kept  int64 // bytes of spare
}

// pending is an image that is being looked at, or with a nil done something to
// do when all before it is told.
type pending struct {
	mem    []byte
	done   chan struct{}
	report *macho.Report
	err    error
	tell   func(*macho.Report, error) error

	depth int // of reach; -1: it is something else
}

const (
	// wholeImage is from where an image is hashed by all processors at once.
	wholeImage = 16 << 20
	// maxPending bounds the images, and what else there is to tell, that wait
	// for an image before them.
	maxPending = 256
)

func newAhead(jobs int) *ahead {
	if jobs <= 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	return &ahead{slots: make(chan struct{}, jobs)}
}

// verify looks at an image, which it keeps, and calls tell in its turn.
func (a *ahead) verify(mem []byte, locate bool, tell func(*macho.Report, error) error) {
	w := &pending{mem: mem, done: make(chan struct{}), tell: tell, depth: -1}
	a.queue = append(a.queue, w)
	a.bytes += int64(cap(mem))
	go func() {
		a.slots <- struct{}{}
		w.report, w.err = macho.Config{Jobs: 1}.Verify(macho.Bytes(mem))
		if w.err == nil && locate {
			w.err = w.report.Locate(macho.Bytes(mem))
		}
		<-a.slots
		close(w.done)
	}()
}

// then calls f when all that waits is told.
func (a *ahead) then(f func()) {
	if len(a.queue) == 0 {
		f()
		return
	}
	a.queue = append(a.queue, &pending{depth: -1, tell: func(*macho.Report, error) error { f(); return nil }})
}

// reach calls f with the least of the depths in a row when all that waits is
// told. There is a call for every entry, and most say nothing new.
func (a *ahead) reach(depth int, f func(int)) {
	if last := a.queue[len(a.queue)-1]; last.depth >= 0 {
		last.depth = min(last.depth, depth)
		return
	}
	w := &pending{depth: depth}
	w.tell = func(*macho.Report, error) error { f(w.depth); return nil }
	a.queue = append(a.queue, w)
}

// room waits until images of n bytes more stay within the limit, and tells
// what is known by then.
func (a *ahead) room(n, limit int64) error {
	if a.bytes+a.kept+n > limit {
		a.spare, a.kept = nil, 0
	}
	for len(a.queue) > 0 {
		w := a.queue[0]
		if w.done != nil {
			if a.bytes+n <= limit && len(a.queue) < maxPending {
				select {
				case <-w.done:
				default:
					return nil
				}
			}
			<-w.done
		}
		a.queue[0] = nil
		a.queue = a.queue[1:]
		a.bytes -= int64(cap(w.mem))
		if c := int64(cap(w.mem)); c > 0 && a.bytes+a.kept+n+c <= limit && len(a.spare) <= cap(a.slots) {
			a.spare = append(a.spare, w.mem[:0])
			a.kept += c
		}
		if err := w.tell(w.report, w.err); err != nil {
			return err
		}
	}
	return nil
}

// finish waits for all and tells it, as far as there is no error.
func (a *ahead) finish() error {
	err := a.room(0, -1)
	for _, w := range a.queue {
		if w.done != nil {
			<-w.done
		}
	}
	a.queue = nil
	return err
}

// buffer returns memory that is free again, if there is any.
func (a *ahead) buffer() []byte {
	n := len(a.spare)
	if n == 0 {
		return nil
	}
	b := a.spare[n-1]
	a.spare = a.spare[:n-1]
	a.kept -= int64(cap(b))
	return b
}
