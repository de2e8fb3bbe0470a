package filter

import (
	"errors"
	"fmt"
	"io"

	"narseal/macho"
	"narseal/macho/bundle"
	"narseal/nar"
)

// RepairMode says which signatures are resealed.
type RepairMode int

const (
	// RepairTouched recomputes the slots of the pages and blobs that the
	// rules changed.
	RepairTouched RepairMode = iota
	// RepairAll recomputes every slot that does not match.
	RepairAll
	// RepairNone leaves signatures alone. The images that the rules touch
	// are still verified, so that Result.Unsealed tells of them.
	RepairNone
)

// DefaultHoldMemory is the size in bytes up to which an image is held in
// memory where Config.HoldMemory is 0.
const DefaultHoldMemory = 256 << 20

// Config says what a run does. The zero Config passes an archive on as it
// is.
type Config struct {
	Rules  *Rules // nil: nothing is replaced
	Repair RepairMode
	// Inspect verifies every signed image, also where the run has no other
	// reason to hash it.
	Inspect bool
	// Locate sets the Regions of slices that do not hold.
	Locate bool
	OnCMS  macho.CMSPolicy
	Jobs   int // goroutines that hash; 0: GOMAXPROCS

	// Ordered says that the archive comes from Order.Reader, so that no
	// entry has to wait for its place.
	Ordered bool

	// An image of more than HoldMemory bytes is held in what Scratch
	// returns, which is closed after use, and so are renamed entries that
	// wait for their place and have more than that together. Where Scratch
	// is nil, these are errors.
	HoldMemory int64
	Scratch    func() (Scratch, error)

	// The functions below, where not nil, are called in the archive's order
	// and by one goroutine; but a slice that seals files of its bundle comes
	// when the bundle's folder ends. Paths are those of the input.
	Signature func(Signature)          // for each slice that was looked at
	Unsealed  func(Signature)          // for each slice that Result.Unsealed counts, but one that ends the run
	Changed   func(Change)             // for each entry that the rules changed
	Entered   func(path func() string) // for each entry, before its contents

	// Deep, where not nil, has packed contents looked into for occurrences of
	// the Rules, which cannot be replaced there; Hidden is called for each,
	// and its error ends the run. In the Mention, Hash is the rule.
	Deep   *Deep
	Hidden func(*Mention) error
}

// A Scratch holds what is too large for memory: as a rule an unlinked
// temporary file. Several goroutines read and write it at once.
type Scratch interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
}

// A Signature is the state of one slice of a signed image as it left the
// filter.
type Signature struct {
	Path string `json:"path"`
	macho.Slice
}

// A Change says what the rules changed of an entry.
type Change struct {
	Path     string `json:"path"`
	Contents bool   `json:"contents"`
	Target   bool   `json:"target"`
	Name     bool   `json:"name"`
}

// A Result counts what a run saw and did.
type Result struct {
	Regular, Directory, Symlink int64   // entries
	Counts                      []int64 // replacements, by rule
	Images, Slices              int64   // signed images, and their slices, that were looked at
	Hashed                      int64   // bytes, once for every CodeDirectory
	Repaired                    int64   // slices
	// Unsealed is the number of slices that the run touched, in the image or
	// in a file of its bundle that it seals, or that the run was asked to
	// repair, and whose signature does not hold.
	Unsealed int64
}

// Replacements is the number of replacements by all rules.
func (r *Result) Replacements() int64 {
	var n int64
	for _, c := range r.Counts {
		n += c
	}
	return n
}

// A SealError is an image whose signature the run broke, or was asked to
// repair, and cannot repair.
type SealError struct {
	Path  string
	Slice macho.Slice
}

func (e *SealError) Error() string {
	why := e.Slice.Reason
	if why == "" {
		why = string(e.Slice.Status)
	}
	return fmt.Sprintf("reseal %q: %s slice at offset %d: %s", e.Path, e.Slice.Arch, e.Slice.Offset, why)
}

// A RenameError is a renamed entry that belongs before what is already
// written, or whose new name another entry has.
type RenameError struct {
	Path     string // of the entry, in the input
	From, To string
	Err      error // a *nar.OrderError
}

func (e *RenameError) Error() string {
	return fmt.Sprintf("rename %q to %q: %v", e.Path, e.To, e.Err)
}

func (e *RenameError) Unwrap() error { return e.Err }

// Run reads an archive from r, applies c, and writes the outcome to w, which
// it closes. Where w is nil nothing is written: the run only looks.
//
// Everything keeps its length. On an error the archive in w is not complete,
// and the Result says what was done until then.
func (c *Config) Run(w *nar.Writer, r *nar.Reader) (Result, error) {
	p := &pipe{c: c, r: r, w: w}
	p.out = p.emit // once, not for each file
	if c.Rules != nil {
		p.hold = c.Rules.maxHold()
		p.res.Counts = make([]int64, c.Rules.Len())
		p.found = p.onFound
	}
	if c.Rules != nil && c.Deep != nil {
		p.diver = newDiver(c.Deep, &References{Hashes: c.Rules, Found: c.Hidden})
		defer p.diver.close()
	}
	p.late = spools{limit: p.holdMemory(), open: c.Scratch}
	if w == nil && c.Rules == nil && c.Repair == RepairNone && c.Inspect {
		p.ahead = newAhead(c.Jobs)
	}
	if w != nil {
		w.PassThrough(r)
	}
	err := p.run()
	if p.ahead != nil {
		err = errors.Join(err, p.ahead.finish())
	}
	p.bundles.Reach(0)
	p.held.close()
	p.late.close()
	return p.res, err
}

// pipe is one run.
type pipe struct {
	c     *Config
	r     *nar.Reader
	w     *nar.Writer
	hold  int // bytes that the rules may hold back
	found func(off, n, rule int)
	out   func([]byte) error
	res   Result

	// Of the entry at hand:
	base    int64 // offset in the contents of the window that is searched
	hits    int64 // replacements
	track   bool  // keep touched
	touched ranges
	held    held
	digest  *bundle.FileDigest // of what a bundle seals, else nil

	bundles bundle.Checker
	ahead   *ahead // nil unless the run only looks
	diver   *diver // nil: packed contents are not looked into
	late    spools // renamed entries that wait for their place
}

// looks tells whether signatures matter to the run.
func (p *pipe) looks() bool {
	return p.c.Repair != RepairNone || p.c.Inspect || p.c.Rules != nil
}

func (p *pipe) onFound(off, n, rule int) {
	p.res.Counts[rule]++
	p.hits++
	if p.track {
		p.touched.add(p.base+int64(off), int64(n))
	}
}

func (p *pipe) run() error {
	path := p.r.Path // one method value, not one an entry
	for {
		e, err := p.r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if p.c.Entered != nil {
			p.c.Entered(path)
		}
		if err := p.entry(e); err != nil {
			return err
		}
	}
	if p.w == nil {
		return nil
	}
	return p.w.Close()
}

func (p *pipe) entry(e *nar.Entry) error {
	var ch Change
	var from string
	p.digest = nil
	if p.looks() {
		p.reach(e.Depth)
		if e.Type == nar.TypeRegular && bundle.IsSealedFile(e.Name) {
			p.digest = bundle.NewFileDigest()
		}
	}
	if p.c.Rules != nil {
		if p.c.Rules.in(e.Name) {
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
	switch e.Type {
	case nar.TypeRegular:
		p.res.Regular++
		p.hits = 0
		if err := p.contents(e.Size); err != nil {
			return err
		}
		if p.diver != nil {
			if err := p.diver.end(); err != nil {
				return err
			}
		}
		ch.Contents = p.hits > 0
		if p.digest != nil {
			p.digest.Touched = ch.Contents
			path, digest := p.r.Path(), p.digest
			if err := p.inTurn(func() { p.bundles.AddFile(path, digest) }); err != nil {
				return err
			}
		}
	case nar.TypeDirectory:
		p.res.Directory++
	case nar.TypeSymlink:
		p.res.Symlink++
	}
	if p.c.Changed != nil && (ch.Name || ch.Target || ch.Contents) {
		ch.Path = p.r.Path()
		p.c.Changed(ch)
	}
	return nil
}

// begin writes what precedes an entry's contents. An entry that was renamed,
// from a name that is not empty, may have to wait for its place.
func (p *pipe) begin(e *nar.Entry, from string) error {
	var err error
	if from != "" && from < string(e.Name) && !p.c.Ordered {
		err = p.w.WriteEntryDeferred(e, p.late.new())
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
		return &RenameError{Path: p.r.Path(), From: from, To: string(to), Err: order}
	}
	return err
}

// replaceField applies the rules to a name or a target, which lie in the
// reader's buffer as a whole.
func (p *pipe) replaceField(b []byte) bool {
	if len(b) < hashLen {
		return false
	}
	p.hits, p.track = 0, false
	p.c.Rules.replace(b, true, p.found)
	return p.hits > 0
}

// copy replaces in what is left of the contents, window by window up to the
// offset until at least, and hands it to sink.
func (p *pipe) copy(sink func([]byte) error, until int64) error {
	for p.r.Remaining() > 0 && p.base < until {
		b, err := p.r.Peek(p.hold + 1)
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

// settle replaces in the window b, which final says is the last one, looks into
// what is packed there, and returns how many bytes are done with.
func (p *pipe) settle(b []byte, final bool) int {
	n := len(b)
	if p.c.Rules != nil {
		n = p.c.Rules.replace(b, final, p.found)
	}
	if p.diver != nil {
		p.diver.push(b[:n])
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
