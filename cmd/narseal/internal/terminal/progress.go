package terminal

import (
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/cheggaaa/pb/v3"
	"github.com/mattn/go-runewidth"
	"golang.org/x/term"
)

const (
	progressDelay = time.Second
	redrawEvery   = 200 * time.Millisecond
	logEvery      = 10 * time.Second // if stderr is not a terminal
	logWidth      = 200
	// fallbackWidth is the assumed width of a terminal that does not report its width.
	fallbackWidth = 80
)

// Progress shows the progress of a long run: how much was read and how fast, how much is left, and the current entry. A
// nil Progress shows nothing. Several goroutines may call the methods at the same time.
type Progress struct {
	t     *Terminal
	width func() int // of the terminal; nil if stderr is not one
	task  atomic.Pointer[task]
	entry atomic.Pointer[string]
	quit  chan struct{}
}

// A Mode says when progress is shown.
type Mode string

const (
	Auto   Mode = "auto" // on a terminal, after a second
	Always Mode = "always"
	Never  Mode = "never"
)

// Progress returns the Progress of the run, or nil if no progress is shown.
func (t *Terminal) Progress() *Progress { return t.progress }

func (t *Terminal) startProgress(mode Mode) {
	f, _ := t.stderr.(*os.File)
	tty := IsTerminal(t.stderr)
	if mode != Always && (mode == Never || t.quiet || !tty || os.Getenv("TERM") == "dumb") {
		return
	}
	p := &Progress{t: t, quit: make(chan struct{})}
	if tty {
		p.width = func() int {
			if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
				return w
			}
			return fallbackWidth
		}
	}
	p.Begin(0)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.progress = p
	go p.run()
}

// run draws until the program ends.
func (p *Progress) run() {
	wait, every := progressDelay, redrawEvery
	if p.width == nil {
		every = logEvery
	}
	for {
		select {
		case <-p.quit:
			return
		case <-time.After(wait):
		}
		p.t.draw(p)
		wait = every
	}
}

// Begin starts a task of this many bytes; 0 means unknown.
func (p *Progress) Begin(bytes int64) { p.BeginItems(0, bytes) }

// BeginItems starts a task of this many items and bytes; 0 means unknown.
func (p *Progress) BeginItems(items, bytes int64) {
	if p == nil {
		return
	}
	k := newTask(items, bytes)
	_ = k.String() // starts measuring the speed
	p.task.Store(k)
}

// SetTotals sets the number of items and bytes of the task, as known so far.
func (p *Progress) SetTotals(items, bytes int64) {
	if p != nil {
		k := p.task.Load()
		k.items.SetTotal(items)
		k.bytes.SetTotal(bytes)
	}
}

// Add counts bytes that were read.
func (p *Progress) Add(n int64) {
	if p != nil {
		p.task.Load().bytes.Add64(n)
	}
}

// AddItem counts a finished item.
func (p *Progress) AddItem() {
	if p != nil {
		p.task.Load().items.Increment()
	}
}

// At sets the name of the current entry or item.
func (p *Progress) At(name *string) {
	if p != nil {
		p.entry.Store(name)
	}
}

// Count returns a reader that counts the bytes read from r. It passes on reads unchanged.
func (p *Progress) Count(r io.Reader) io.Reader {
	if p == nil {
		return r
	}
	return &countedReader{r, p}
}

type countedReader struct {
	r io.Reader
	p *Progress
}

func (c *countedReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.p.Add(int64(n))
	return n, err
}

// CountAt is like Count, for an io.ReaderAt.
func (p *Progress) CountAt(r io.ReaderAt) io.ReaderAt {
	if p == nil {
		return r
	}
	return &countedReaderAt{r, p}
}

type countedReaderAt struct {
	r io.ReaderAt
	p *Progress
}

func (c *countedReaderAt) ReadAt(b []byte, off int64) (int, error) {
	n, err := c.r.ReadAt(b, off)
	c.p.Add(int64(n))
	return n, err
}

// Follow returns a reader of r that calls path before each read to show the current entry. path is set by calling
// entered. Small entries, which need no read of their own, cost nothing.
func (p *Progress) Follow(r io.Reader) (_ io.Reader, entered func(path func() string)) {
	if p == nil {
		return r, func(func() string) {}
	}
	f := &followedReader{r: r, p: p}
	return f, func(path func() string) { f.path = path }
}

type followedReader struct {
	r    io.Reader
	p    *Progress
	path func() string
}

func (f *followedReader) Read(b []byte) (int, error) {
	if f.path != nil {
		path := f.path()
		f.p.At(&path)
	}
	return f.r.Read(b)
}

// line describes the progress in at most width columns.
func (p *Progress) line(width int) string {
	s := p.task.Load().String()
	name := p.entry.Load()
	if name == nil {
		return runewidth.Truncate(s, width, "…")
	}
	shown := Printable(*name)
	s += ": "
	room := width - runewidth.StringWidth(s)
	if cut := runewidth.StringWidth(shown) - room; cut > 0 {
		// The end of a path is more useful than its beginning.
		shown = runewidth.TruncateLeft(shown, cut+1, "…")
	}
	return runewidth.Truncate(s+shown, width, "…")
}

// task is a task whose size may be known.
type task struct {
	items, bytes *pb.ProgressBar
}

const (
	countersElement = `{{counters . "%s of %s" "%[1]s"}}`
	percentElement  = `{{percent . ", %.0f%%" ""}}`
	speedElement    = `{{speed . ", %s/s" ", ? B/s"}}`
	leftElement     = `{{rtime . ", %s left" ", %s" ""}}` // at the end, the elapsed time
	tookElement     = `{{rtime . "%.0s" ", %s" ""}}`
)

func newTask(items, bytes int64) *task {
	ofItems, ofBytes := countersElement, countersElement
	switch {
	case bytes > 0:
		ofBytes += percentElement + speedElement + leftElement
	case items > 0:
		ofItems += percentElement + leftElement
		ofBytes += speedElement
	default:
		ofBytes += speedElement + tookElement
	}
	bar := func(total int64, template string) *pb.ProgressBar {
		return pb.New64(total).Set(pb.Static, true).SetWidth(fallbackWidth).SetTemplateString(template)
	}
	return &task{bar(items, ofItems), bar(bytes, ofBytes).Set(pb.Bytes, true)}
}

// finish ends the task: String then describes all of it.
func (k *task) finish() {
	k.items.Finish()
	k.bytes.Finish()
}

func (k *task) String() string {
	for _, b := range []*pb.ProgressBar{k.items, k.bytes} {
		// If the file grew, the remaining time is zero, not negative.
		if total := b.Total(); total > 0 && b.Current() > total {
			b.SetTotal(b.Current())
		}
	}
	if k.items.Total() == 0 {
		return k.bytes.String()
	}
	return k.items.String() + ", " + k.bytes.String()
}
