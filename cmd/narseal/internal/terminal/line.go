package terminal

import (
	"fmt"
	"io"
	"time"
)

// eraseLine erases what follows the cursor in its line (ECMA-48 EL).
const eraseLine = "\x1b[K"

// draw shows how far the run is: on a terminal in one line, over the line before.
func (t *Terminal) draw(p *Progress) {
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
func (t *Terminal) logProgress(p *Progress) {
	fmt.Fprintf(t.stderr, "narseal: progress: %s\n", p.line(logWidth))
}

// clear erases the line of progress.
func (t *Terminal) clear() {
	if t.drawn {
		fmt.Fprintf(t.stderr, "\r%s", eraseLine)
		t.drawn = false
	}
}

// maxWriteWait is how long the end of the program waits for a write to stdout or stderr.
const maxWriteWait = 200 * time.Millisecond

// EndProgress erases the line of progress, and shows none any more. It gives up if a write to Beside takes longer than a
// moment: nobody may read what it writes, and the program must be able to end all the same.
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

// Beside returns a writer for data that may go to the terminal on which the line of progress stands: that is erased
// before each write, and comes back when a line of data is complete.
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
