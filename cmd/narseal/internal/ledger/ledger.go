package ledger

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"narseal/cmd/narseal/internal/worklist"
)

// Options say what a ledger is of.
type Options struct {
	Command string // see Work
	Options string
	Shard   worklist.Shard // of whose paths earlier lines are remembered
}

func (o *Options) work() Work { return Work{Schema, o.Command, o.Options} }

// A Ledger has the paths that earlier runs have finished, and takes those that this run finishes. One run at a time
// writes it. A nil Ledger has no path, and takes none.
type Ledger struct {
	done table
	name string // for messages

	mu  sync.Mutex
	out sink
	err error // of writing
	now func() time.Time
}

// A sink is where lines go.
type sink interface {
	// add appends whole lines. If they are durable, they are on the disk when it returns, as far as the sink can.
	add(lines []byte, durable bool) error
	close() error
}

// load reads the lines of earlier runs, and returns how many bytes whole lines have.
func (l *Ledger) load(r io.Reader, o *Options) (whole int64, err error) {
	want := o.work()
	whole, err = Read(r, func(_ int, w Work) error {
		if w != want {
			return differs(w, want)
		}
		return nil
	}, func(_ int, line *Line) error {
		e, err := newEntry(line)
		if err != nil || !o.Shard.Has(e.hash) {
			return err
		}
		return l.done.add(e)
	})
	l.done.compact()
	return whole, err
}

// differs says what two works differ in.
func differs(got, want Work) error {
	if got.Command != want.Command {
		return fmt.Errorf("a ledger of other work: of %q, this is %q", cut(got.Command, 100), want.Command)
	}
	wanted := strings.Split(want.Options, "; ")
	for s := range strings.SplitSeq(got.Options, "; ") {
		if !slices.Contains(wanted, s) {
			return fmt.Errorf("a ledger of other work: it has %q, this run %q", cut(s, 200), cut(want.Options, 1000))
		}
	}
	return fmt.Errorf("a ledger of other work: it has %q, this run %q", cut(got.Options, 1000), cut(want.Options, 1000))
}

// A State says what a ledger knows of a path.
type State int

const (
	New       State = iota // work on it
	Unchanged              // finished: it stays as the cache has it
	Changed                // finished: the cache still states what it was before
	Result                 // finished: the cache states what the work has made of it
)

// Find says what the ledger knows of a path whose narinfo states this NarHash.
func (l *Ledger) Find(hashPart, narHash string) State {
	if l == nil {
		return New
	}
	h, err := worklist.ParseHash(hashPart)
	if err != nil {
		return New
	}
	e := l.done.find(h)
	if e == nil || !e.finished {
		return New
	}
	d, err := parseDigest(narHash)
	switch {
	case err != nil:
		return New
	case e.new != digest{} && d == e.new:
		return Result
	case d == e.old && e.new != digest{}:
		return Changed
	case d == e.old:
		return Unchanged
	}
	return New
}

// Add adds a path. What was changed is on the disk when Add returns. An error is returned again by every later call.
func (l *Ledger) Add(line Line) error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil || l.out == nil {
		return cmp.Or(l.err, l.named(os.ErrClosed))
	}
	line.At = l.now().UTC().Truncate(time.Second)
	b, err := line.encode()
	if err == nil {
		err = l.out.add(b, line.NewNarHash != "")
	}
	l.err = l.named(err)
	return l.err
}

// Close writes what is left, and lets another run write the ledger.
func (l *Ledger) Close() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.out == nil {
		return nil
	}
	err := l.out.close()
	l.out = nil
	if l.err == nil {
		l.err = l.named(err)
	}
	return l.named(err)
}

func (l *Ledger) named(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("ledger %s: %w", l.name, err)
}
