package main

import (
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/cheggaaa/pb/v3"
	"github.com/mattn/go-runewidth"
	"golang.org/x/term"
)

var progressFlag = choice("progress", "auto", "auto|always|never",
	"tell on stderr how far a long run is; auto: on a terminal, after one second")

const (
	progressDelay = time.Second
	redrawEvery   = 200 * time.Millisecond
	logEvery      = 10 * time.Second // where stderr is no terminal
	logWidth      = 200
	// fallbackWidth is that of a terminal that does not tell its own.
	fallbackWidth = 80
)

// progress tells how far a long run is: how much was read and how fast, how
// much is left, and the entry at hand. A nil *progress tells nothing. Its
// methods may be called by several goroutines at once.
type progress struct {
	t      *terminal
	width  func() int // of the terminal; nil where stderr is none
	task   atomic.Pointer[task]
	entry  atomic.Pointer[string]
	quit   chan struct{}
	slow   bool // the first line, too, comes only after logEvery
	logged bool // where stderr is no terminal; held by t.mu
}

// progressLines is no mode that a user can ask for: it is what auto means to a
// command whose runs are so long that also those who read a log want to know.
const progressLines = "lines"

// startProgress begins what --progress asks for.
func (t *terminal) startProgress(mode string) {
	f, _ := t.stderr.(*os.File)
	tty := isTerminal(t.stderr)
	if mode != "always" && mode != progressLines && (mode == "never" || t.quiet || !tty || os.Getenv("TERM") == "dumb") {
		return
	}
	p := &progress{t: t, quit: make(chan struct{}), slow: mode == progressLines}
	if tty {
		p.width = func() int {
			if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
				return w
			}
			return fallbackWidth
		}
	}
	p.begin(0)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.progress = p
	go p.run()
}

// run draws until the program ends.
func (p *progress) run() {
	wait, every := progressDelay, redrawEvery
	if p.width == nil {
		every = logEvery
	}
	if p.slow {
		wait = logEvery
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

// begin starts a task of so many bytes; 0 where that is not known.
func (p *progress) begin(bytes int64) { p.beginItems(0, bytes) }

// beginItems starts a task of so many items, which are told of where there
// are any, and bytes; 0 where that is not known.
func (p *progress) beginItems(items, bytes int64) {
	if p == nil {
		return
	}
	k := newTask(items, bytes)
	_ = k.String() // the speed is measured from here on
	p.task.Store(k)
}

// add counts bytes that were read.
func (p *progress) add(n int64) {
	if p != nil {
		p.task.Load().bytes.Add64(n)
	}
}

// addItem counts an item that is done.
func (p *progress) addItem() {
	if p != nil {
		p.task.Load().items.Increment()
	}
}

// at names the entry or item at hand.
func (p *progress) at(name *string) {
	if p != nil {
		p.entry.Store(name)
	}
}

// count returns a reader that counts what is read from r. Reads are passed on
// as they are.
func (p *progress) count(r io.Reader) io.Reader {
	if p == nil {
		return r
	}
	return &countedReader{r, p}
}

type countedReader struct {
	r io.Reader
	p *progress
}

func (c *countedReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.p.add(int64(n))
	return n, err
}

// countAt is count for random access.
func (p *progress) countAt(r io.ReaderAt) io.ReaderAt {
	if p == nil {
		return r
	}
	return &countedReaderAt{r, p}
}

type countedReaderAt struct {
	r io.ReaderAt
	p *progress
}

func (c *countedReaderAt) ReadAt(b []byte, off int64) (int, error) {
	n, err := c.r.ReadAt(b, off)
	c.p.add(int64(n))
	return n, err
}

// follow returns a reader by which the entry at hand is known: path, once it
// was given to entered, is asked for it before each read. So it costs nothing
// where entries are small, and one that takes long is shown.
func (p *progress) follow(r io.Reader) (_ io.Reader, entered func(path func() string)) {
	if p == nil {
		return r, func(func() string) {}
	}
	f := &followedReader{r: r, p: p}
	return f, func(path func() string) { f.path = path }
}

type followedReader struct {
	r    io.Reader
	p    *progress
	path func() string
}

func (f *followedReader) Read(b []byte) (int, error) {
	if f.path != nil {
		path := f.path()
		f.p.at(&path)
	}
	return f.r.Read(b)
}

// line is the state of things in at most so many columns.
func (p *progress) line(width int) string {
	s := p.task.Load().String()
	name := p.entry.Load()
	if name == nil {
		return runewidth.Truncate(s, width, "…")
	}
	shown := printable(*name)
	s += ": "
	room := width - runewidth.StringWidth(s)
	if cut := runewidth.StringWidth(shown) - room; cut > 0 {
		// A path's end tells more than its beginning.
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
	leftElement     = `{{rtime . ", %s left" ", %s" ""}}` // in the end, what it took
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

// finish has String tell of the task as a whole.
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
