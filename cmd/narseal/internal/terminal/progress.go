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
	logEvery      = 10 * time.Second // where stderr is no terminal
	logWidth      = 200
	// fallbackWidth is assumed of a terminal that does not report its own.
	fallbackWidth = 80
)

// Progress shows how far a long run is: how much was read and how fast, how much is left, and the current entry. A nil
// Progress shows nothing. The methods may be called by several goroutines at once.
type Progress struct {
	t     *Terminal
	width func() int // of the terminal; nil where stderr is none
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

// Progress returns what shows the progress of the run, nil if none is shown.
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

// Begin starts a task of so many bytes; 0 where that is not known.
func (p *Progress) Begin(bytes int64) { p.BeginItems(0, bytes) }

// BeginItems starts a task of so many items and bytes; 0 where that is not known.
func (p *Progress) BeginItems(items, bytes int64) {
	if p == nil {
		return
	}
	k := newTask(items, bytes)
	_ = k.String() // the speed is measured from here on
	p.task.Store(k)
}

// SetTotals says how many items and bytes the task has, as far as that is known by now.
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

// AddItem counts an item that is done.
func (p *Progress) AddItem() {
	if p != nil {
		p.task.Load().items.Increment()
	}
}

// At names the current entry or item.
func (p *Progress) At(name *string) {
	if p != nil {
		p.entry.Store(name)
	}
}

// Count returns a reader that counts what is read from r. It passes reads on as they are.
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

// CountAt is Count for random access.
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

// Follow returns a reader of r that finds out the current entry: it calls path, once that was given to entered, before
// each read. So it costs nothing where entries are small, and an entry that takes long is shown.
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

// line is how far the run is, in at most so many columns.
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
		// A path's end says more than its beginning.
		shown = runewidth.TruncateLeft(shown, cut+1, "…")
	}
	return runewidth.Truncate(s+shown, width, "…")
}

// task is something whose end may be known.
type task struct {
	items, bytes *pb.ProgressBar
}

const (
	countersElement = `{{counters . "%s of %s" "%[1]s"}}`
	percentElement  = `{{percent . ", %.0f%%" ""}}`
	speedElement    = `{{speed . ", %s/s" ", ? B/s"}}`
	leftElement     = `{{rtime . ", %s left" ", %s" ""}}` // at the end, how long it took
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

// finish makes String describe the task as a whole.
func (k *task) finish() {
	k.items.Finish()
	k.bytes.Finish()
}

func (k *task) String() string {
	for _, b := range []*pb.ProgressBar{k.items, k.bytes} {
		// A file that grew: no time is left, rather than less than none.
		if total := b.Total(); total > 0 && b.Current() > total {
			b.SetTotal(b.Current())
		}
	}
	if k.items.Total() == 0 {
		return k.bytes.String()
	}
	return k.items.String() + ", " + k.bytes.String()
}
