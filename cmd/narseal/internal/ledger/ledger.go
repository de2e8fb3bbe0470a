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

// Options describe the work that a ledger records.
type Options struct {
	Command string // see Work
	Options string
	Shard   worklist.Shard // only lines of its paths are remembered
	Closure bool           // the run searches a closure: the ledger says so before the work begins
}

func (o *Options) work() Work { return Work{Schema, o.Command, o.Options} }

// A Ledger records the paths that earlier runs finished, and those that this run finishes. Only one run at a time
// writes it. A nil Ledger is empty and ignores new paths.
type Ledger struct {
	done table
	name string // for messages

	mu  sync.Mutex
	out sink
	err error // of writing
	now func() time.Time
}

// A sink stores lines.
type sink interface {
	// add appends whole lines. If durable is set, it syncs them to disk before it returns, if the sink can.
	add(lines []byte, durable bool) error
	close() error
}

// load reads the lines of earlier runs, and returns the number of bytes in complete lines.
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
	}, nil)
	return whole, err
}

// differs returns an error that names the difference between two works.
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

// A State is the state of a path in a ledger.
type State int

const (
	New       State = iota // not finished
	Unchanged              // finished without a change
	Changed                // finished and changed, but the cache still has the old NarHash
	Result                 // finished and changed; the cache has the new NarHash
)

// Find returns the state of a path whose narinfo has this NarHash.
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

// Add adds a path. The line of a changed path is durable when Add returns, if the sink supports that. After an error,
// every later call returns the same error.
func (l *Ledger) Add(line Line) error {
	if l == nil {
		return nil
	}
	line.At = l.now().UTC().Truncate(time.Second)
	b, err := line.encode()
	return l.write(b, err, line.NewNarHash != "")
}

// write writes a line, if it was encoded without an error.
func (l *Ledger) write(line []byte, err error, durable bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil || l.out == nil {
		return cmp.Or(l.err, l.named(os.ErrClosed))
	}
	if err == nil {
		err = l.out.add(line, durable)
	}
	l.err = l.named(err)
	return l.err
}

// Close writes pending lines and releases the ledger for other runs.
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
