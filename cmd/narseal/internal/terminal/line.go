package terminal

import (
	"fmt"
	"io"
	"time"
)

// eraseLine erases the rest of the line after the cursor (ECMA-48 EL).
const eraseLine = "\x1b[K"

// draw shows the progress: on a terminal, it overwrites the progress line.
func (t *Terminal) draw(p *Progress) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.ended || t.midLine:
	case p.width == nil:
		t.logProgress(p)
	default:
		// The last column stays free, because some terminals wrap when it is written.
		fmt.Fprintf(t.stderr, "\r%s%s", p.line(p.width()-1), eraseLine)
		t.drawn = true
	}
}

// logProgress prints the progress if stderr is not a terminal.
func (t *Terminal) logProgress(p *Progress) {
	fmt.Fprintf(t.stderr, "narseal: progress: %s\n", p.line(logWidth))
}

// clear erases the progress line.
func (t *Terminal) clear() {
	if t.drawn {
		fmt.Fprintf(t.stderr, "\r%s", eraseLine)
		t.drawn = false
	}
}

// maxWriteWait limits how long the end of the program waits for a write to stdout or stderr.
const maxWriteWait = 200 * time.Millisecond

// EndProgress erases the progress line, and stops showing it. It gives up after maxWriteWait if a write to Beside
// blocks, so that the program can end even if nobody reads its output.
func (t *Terminal) EndProgress() {
	for deadline := time.Now().Add(maxWriteWait); !t.mu.TryLock(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return
		}
	}
	defer t.mu.Unlock()
	t.clear()
	if t.progress != nil && !t.ended {
		close(t.progress.quit)
		if p := t.progress; p.width == nil {
			p.task.Load().finish()
			p.At(nil)
			t.logProgress(p)
		}
	}
	t.ended = true
}

// Beside returns a writer for data that may go to the same terminal as the progress line. The progress line is erased
// before each write, and drawn again when a line of data is complete.
func (t *Terminal) Beside(w io.Writer) io.Writer {
	if t.progress == nil {
		return w
	}
	return besideWriter{w, t}
}

type besideWriter struct {
	io.Writer
	t *Terminal
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
