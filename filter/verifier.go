package filter

import (
	"runtime"

	"narseal/filter/spill"
	"narseal/macho"
)

// verifier verifies images on other goroutines while a run that only verifies continues to read. The run's goroutine
// reports the results, in the order of the archive.
type verifier struct {
	slots chan struct{} // one for each image that is being hashed
	spill spill.Options // the Budget of the memory of images
	queue []*queued
	bytes int64 // memory of the queued images
	spare []spill.Detached
	kept  int64 // bytes of spare
	small int   // contents of files that have been kept since the queue was empty
}

// queued is an image that is being verified, or, with a nil done, a step that waits for the images before it.
type queued struct {
	mem    spill.Detached
	done   chan struct{}
	report *macho.Report
	err    error
	next   func(*macho.Report, error) error

	depth int // of reach; -1 for everything else
}

// verifyOptions says whether to call Locate and Identify on a report.
type verifyOptions struct{ locate, identify bool }

const (
	// wholeImage is the size in bytes from which an image is hashed by all processors together.
	wholeImage = 16 << 20
	// maxQueued bounds the images and steps that wait.
	maxQueued = 256
)

func newVerifier(jobs int, o spill.Options) *verifier {
	if jobs <= 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	return &verifier{slots: make(chan struct{}, jobs), spill: o}
}

// verify starts to verify an image, which it keeps. It calls next with the result after those of earlier images.
func (a *verifier) verify(mem spill.Detached, o verifyOptions, next func(*macho.Report, error) error) {
	w := &queued{mem: mem, done: make(chan struct{}), next: next, depth: -1}
	a.queue = append(a.queue, w)
	a.bytes += int64(cap(mem.Bytes))
	go func() {
		a.slots <- struct{}{}
		image := macho.Bytes(mem.Bytes)
		w.report, w.err = macho.Config{Jobs: 1}.Verify(image)
		if w.err == nil && o.locate {
			w.err = locate(w.report, image)
		}
		if w.err == nil && o.identify {
			w.err = w.report.Identify(image)
		}
		<-a.slots
		close(w.done)
	}()
}

// then calls f after everything in the queue.
func (a *verifier) then(f func()) {
	if len(a.queue) == 0 {
		f()
		return
	}
	a.queue = append(a.queue, &queued{depth: -1, next: func(*macho.Report, error) error { f(); return nil }})
}

// reach calls f after everything in the queue, once for several calls in a row, with their least depth. It is called
// for every entry, and most calls change nothing.
func (a *verifier) reach(depth int, f func(int)) {
	if last := a.queue[len(a.queue)-1]; last.depth >= 0 {
		last.depth = min(last.depth, depth)
		return
	}
	w := &queued{depth: depth}
	w.next = func(*macho.Report, error) error { f(w.depth); return nil }
	a.queue = append(a.queue, w)
}

// reserve waits until n more bytes of images fit the limit. It reports the results that are ready by then.
func (a *verifier) reserve(n, limit int64) error {
	if a.bytes+a.kept+n > limit {
		for _, m := range a.spare {
			a.spill.Give(m.Taken)
		}
		a.spare, a.kept = nil, 0
	}
	for len(a.queue) > 0 {
		w := a.queue[0]
		if w.done != nil {
			if a.bytes+n <= limit && len(a.queue) < maxQueued {
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
		c := int64(cap(w.mem.Bytes))
		a.bytes -= c
		if c > 0 && a.bytes+a.kept+n+c <= limit && len(a.spare) <= cap(a.slots) {
			a.spare = append(a.spare, w.mem)
			a.kept += c
		} else {
			w.mem.Bytes = nil
			a.spill.Give(w.mem.Taken)
		}
		if err := w.next(w.report, w.err); err != nil {
			return err
		}
	}
	return nil
}

// maxSmall is how many bytes of the contents of files, such as Info.plists, may be kept while images before them are
// verified.
const maxSmall = 64 << 10

// keep waits for all images if the contents of the next step, and of those before it, take too much memory.
func (a *verifier) keep(n int) error {
	if len(a.queue) == 0 {
		a.small = 0
	}
	if a.small += n; a.small <= maxSmall {
		return nil
	}
	a.small = 0
	return a.finish()
}

// finish waits for all images and reports them, up to the first error.
func (a *verifier) finish() error {
	err := a.reserve(0, -1)
	for _, w := range a.queue {
		if w.done != nil {
			<-w.done
		}
	}
	a.queue = nil
	return err
}

// buffer returns memory of an earlier image, or none.
func (a *verifier) buffer() (m spill.Detached) {
	if n := len(a.spare); n > 0 {
		m = a.spare[n-1]
		a.spare = a.spare[:n-1]
		a.kept -= int64(cap(m.Bytes))
	}
	return m
}
