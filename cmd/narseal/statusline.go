package main

import (
	"fmt"
	"io"
)

// eraseLine takes away what follows the cursor in its line (ECMA-48 EL).
const eraseLine = "\x1b[K"

// draw shows how far the run is: on a terminal in one line, over the one
// before it.
func (t *terminal) draw(p *progress) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.ended || t.midLine:
	case p.width == nil:
		t.logProgress(p)
	default:
		// The last column stays free: some terminals wrap when it is written.
		fmt.Fprintf(t.stderr, "\r%s%s", p.line(p.width()-1), eraseLine)
		t.drawn = true
	}
}

// logProgress shows how far the run is where stderr is no terminal.
func (t *terminal) logProgress(p *progress) {
	fmt.Fprintf(t.stderr, "narseal: progress: %s\n", p.line(logWidth))
	p.logged = true
}

// clear takes the line of progress away.
func (t *terminal) clear() {
	if t.drawn {
		fmt.Fprintf(t.stderr, "\r%s", eraseLine)
		t.drawn = false
	}
}

// endProgress lets no progress be shown any more.
func (t *terminal) endProgress() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear()
	if t.progress != nil && !t.ended {
		close(t.progress.quit)
		if p := t.progress; p.width == nil && (!p.slow || p.logged) {
			p.task.Load().finish()
			p.at(nil)
			t.logProgress(p)
		}
	}
	t.ended = true
}

// beside returns a writer for what may go to the terminal on which the line
// of progress stands: it is taken away before each write, and comes back when
// a line is complete.
func (t *terminal) beside(w io.Writer) io.Writer {
	if t.progress == nil {
		return w
	}
	return besideWriter{w, t}
}

type besideWriter struct {
	io.Writer
	t *terminal
}

func (w besideWriter) Write(b []byte) (int, error) {
	w.t.mu.Lock()
	defer w.t.mu.Unlock()
	w.t.clear()
	if len(b) > 0 {
		w.t.midLine = b[len(b)-1] != '\n'
	}
	return w.Writer.Write(b)
}
