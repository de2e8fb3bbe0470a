package filter

import (
	"errors"
	"fmt"
	"io"

	"narseal/filter/refs"
	"narseal/filter/spill"
	"narseal/macho/bundle"
	"narseal/nar"
	"narseal/nar/storepath"
)

// Run reads an archive from r, applies c, and writes the result to w, which it closes. If w is nil, nothing is written:
// the run only verifies and counts.
//
// After an error the archive in w is not complete, and the Result describes the work up to that point.
func (c *Config) Run(w *nar.Writer, r *nar.Reader) (Result, error) {
	return c.run(w, r, false)
}

// run is Run for an archive whose entries are ordered by their new names, or not.
func (c *Config) run(w *nar.Writer, r *nar.Reader, ordered bool) (Result, error) {
	if ordered {
		r.AnyOrder()
	}
	shared, end := c.Spill.Share()
	defer end()
	p := &pipe{c: c, r: r, w: w, ordered: ordered, longest: 1, spill: shared, kept: spill.NewBuffer(shared), deferred: spill.NewQueue(shared)}
	p.out = p.emit // once, not for each file
	p.bundles.CheckResources, p.bundles.Script, p.bundles.Pool = true, p.script, c.Bundles
	defer p.bundles.Release()
	if p.sealing(); p.bundles.Reseal != nil && w == nil {
		w = nar.NewWriter(io.Discard)
		p.w = w
	}
	if c.Rules != nil {
		p.longest = c.Rules.MaxLen()
		p.res.Counts = make([]int64, c.Rules.Len())
		p.found = p.onFound
	}
	if c.Rules != nil && c.Unpack != nil && c.Observer.Hidden != nil {
		p.unpacker = refs.NewUnpacker(c.Unpack, &refs.Scanner{Hashes: c.Rules, Found: c.Observer.Hidden})
		defer p.unpacker.Close()
	}
	if w == nil && c.Rules == nil && c.Signatures.Repair == RepairNone && c.Signatures.Verify {
		p.verifier = newVerifier(c.Signatures.Jobs, shared)
	}
	if w != nil {
		w.PassThrough(r)
		w.ParkIn(parking{p.deferred})
	}
	err := p.run()
	if p.verifier != nil {
		err = errors.Join(err, p.verifier.finish())
	}
	if err != nil {
		p.bundles.Reseal = nil
	}
	p.bundles.Reach(0)
	if p.held != nil {
		p.held.Close()
	}
	p.kept.Close()
	p.deferred.Close()
	return p.res, err
}

// parking adapts a Queue to nar.SpillStore.
type parking struct{ *spill.Queue }

func (p parking) New() (nar.Spill, error)         { return p.NewInFile(), nil }
func (p parking) Park(s nar.Spill) (int64, error) { return p.Queue.Park(s.(*spill.Item)) }

// pipe is one run.
type pipe struct {
	c       *Config
	r       *nar.Reader
	w       *nar.Writer
	ordered bool
	spill   spill.Options // with this run's share of the Budget
	longest int           // bytes of the longest occurrence of a rule, at least 1
	found   func(off, n, rule int)
	out     func([]byte) error
	res     Result

	// Of the current entry:
	depth   int   // directories around it
	base    int64 // offset of the window in the contents
	hits    int64 // replacements
	track   bool  // note touched
	touched ranges
	kept    *spill.Buffer      // the image
	digest  *bundle.FileDigest // of a file that a bundle seals, else nil

	scope    bundle.Scope
	inBundle bool // the current entry is one that the scope found
	sealed   bool // it may be a file that the main executable of a bundle seals
	bundles  bundle.Checker
	held     *held          // the output, while seals of bundles in it may change
	verifier *verifier      // nil unless the run only verifies
	unpacker *refs.Unpacker // nil: packed contents are not searched
	deferred *spill.Queue   // renamed entries that wait for their place
}

// signatures reports whether the run handles signatures.
func (p *pipe) signatures() bool {
	return p.c.Signatures.Repair != RepairNone || p.c.Signatures.Verify || p.c.Rules != nil
}

func (p *pipe) onFound(off, n, rule int) {
	p.res.Counts[rule]++
	p.hits++
	if p.track {
		p.touched.add(p.base+int64(off), int64(n))
	}
}

func (p *pipe) run() error {
	path := func() string { return p.r.EntryPath().Short() } // one, not one per entry
	for {
		e, err := p.r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if p.c.Observer.Entry != nil {
			p.c.Observer.Entry(path)
		}
		if err := p.entry(e); err != nil {
			return err
		}
	}
	if p.w == nil {
		return nil
	}
	if err := p.w.Close(); err != nil || p.held == nil {
		return err
	}
	return p.reachHeld(0)
}

func (p *pipe) entry(e *nar.Entry) error {
	var ch Change
	var from string
	p.digest, p.depth = nil, e.Depth
	if p.c.Rules != nil {
		if p.c.Rules.Contains(e.Name) {
			from = string(e.Name)
			ch.Name = p.replaceField(e.Name)
		}
		ch.Target = p.replaceField(e.Target)
	}
	if p.w != nil {
		if err := p.begin(e, from); err != nil {
			return err
		}
	}
	if p.signatures() {
		if err := p.reach(e.Depth); err != nil {
			return err
		}
		if err := p.enterScope(e); err != nil {
			return err
		}
		p.sealed = e.Type == nar.TypeRegular && bundle.IsSealedFile(e.Name)
		if p.sealed || p.inBundle && e.Type == nar.TypeRegular {
			p.digest = p.bundles.Count(bundle.NewItemDigest(e.Name))
		}
		if err := p.giveList(e); err != nil {
			return err
		}
	}
	var item bundle.Item
	if p.inBundle {
		item = newItem(e, ch.Name || ch.Target)
	}
	switch e.Type {
	case nar.TypeRegular:
		p.res.Regular++
		if err := p.file(e.Size); err != nil {
			return err
		}
		ch.Contents = p.hits > 0
	case nar.TypeDirectory:
		p.res.Directory++
	case nar.TypeSymlink:
		p.res.Symlink++
	}
	if p.inBundle {
		if err := p.addItem(item); err != nil {
			return err
		}
	}
	if p.c.Observer.Changed != nil && (ch.Name || ch.Target || ch.Contents) {
		ch.Path = p.r.EntryPath()
		p.c.Observer.Changed(ch)
	}
	return nil
}

// file passes on a regular file.
func (p *pipe) file(size int64) error {
	p.hits = 0
	if err := p.contents(size); err != nil {
		return err
	}
	if p.unpacker != nil {
		if err := p.unpacker.Finish(); err != nil {
			return err
		}
	}
	p.bundles.Touched = p.bundles.Touched || p.hits > 0
	if p.digest == nil {
		return nil
	}
	p.digest.Touched = p.hits > 0
	if !p.sealed {
		return nil // addItem adds it
	}
	if p.verifier != nil {
		if err := p.verifier.keep(p.digest.Memory()); err != nil {
			return err
		}
	}
	path, depth, digest := p.r.EntryPath(), p.depth, p.digest
	return p.inTurn(func() { p.bundles.AddFile(depth, path.String, digest) })
}

// begin writes the start of an entry. If the entry was renamed, from is its old name, and it may have to wait for its
// place.
func (p *pipe) begin(e *nar.Entry, from string) error {
	var err error
	if from != "" && from < string(e.Name) && !p.ordered {
		item, full := p.deferred.New()
		if full != nil {
			return fmt.Errorf("rename %q to %q: %w", p.r.Path(), e.Name, full)
		}
		err = p.w.WriteEntryDeferred(e, item)
	} else {
		err = p.w.WriteEntry(e)
	}
	if from != "" && err != nil {
		return p.renameError(err, from, e.Name)
	}
	return err
}

func (p *pipe) renameError(err error, from string, to []byte) error {
	var order *nar.OrderError
	if errors.As(err, &order) {
		return &RenameError{Path: p.r.EntryPath(), From: from, To: string(to), Err: order}
	}
	return err
}

// replaceField applies the rules to a name or a target, all of which is in the reader's buffer.
func (p *pipe) replaceField(b []byte) bool {
	if len(b) < storepath.HashLen {
		return false
	}
	p.hits, p.track = 0, false
	p.c.Rules.Replace(b, true, p.found)
	return p.hits > 0
}

// copyTo replaces in the rest of the contents, window by window up to the offset until at least, and passes it to sink.
func (p *pipe) copyTo(sink func([]byte) error, until int64) error {
	for p.r.Remaining() > 0 && p.base < until {
		b, err := p.r.Peek(p.longest)
		if err != nil && err != io.EOF {
			return err
		}
		n := p.settle(b, int64(len(b)) == p.r.Remaining())
		if err := sink(b[:n]); err != nil {
			return err
		}
		p.r.Discard(n)
	}
	return nil
}

// settle applies the rules to the window b, passes it to the unpacker, and returns how many of its bytes are done.
// final says that it is the last window.
func (p *pipe) settle(b []byte, final bool) int {
	n := len(b)
	if p.c.Rules != nil {
		n = p.c.Rules.Replace(b, final, p.found)
	}
	if p.unpacker != nil {
		p.unpacker.Push(b[:n])
	}
	p.base += int64(n)
	return n
}

func (p *pipe) emit(b []byte) error {
	if p.digest != nil {
		p.digest.Write(b)
	}
	if p.w == nil {
		return nil
	}
	_, err := p.w.Write(b)
	return err
}
