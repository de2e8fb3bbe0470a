// Package sweepsummary adds up ledgers: which packages have invalid signatures, of which kinds, and which of them could
// not be repaired.
package sweepsummary

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"narseal/cmd/narseal/internal/ledger"
	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/worklist"
	"narseal/macho"
	"narseal/nar/compression"
	"narseal/nar/storepath"
)

// maxPaths is the maximum number of paths in all ledgers. Each takes 26 to 31 bytes, and 5 more while the table grows.
// Tests lower it.
var maxPaths = 1 << 24

// A Summary holds the totals of ledgers. If a path has several lines, the last one counts.
type Summary struct {
	Work     ledger.Work // of the ledgers
	From, To time.Time   // of the first and the last line
	Paths    map[string]int64
	Repaired int64 // slices
	Invalid  int64 // slices that were not repaired
	Omitted  int64 // slices that are not counted by package and cause, to save memory
	Unlisted int64 // failed paths that are not in Unrepaired, to save memory

	Packages   []Package
	Causes     []Cause
	Unrepaired []Problem
	Closures   *Closures // nil: no closure was searched in shards
	Changes    *Changes  // nil without an earlier summary

	affected int64 // paths with a slice that was invalid
}

// A Package is all paths with the same name, of all versions.
type Package struct {
	Name     string `json:"name"`
	Paths    int64  `json:"paths"`
	Repaired int64  `json:"repaired"` // slices
	Invalid  int64  `json:"invalid"`  // slices that were not repaired
}

// A Cause is a kind of signature and the reason why such signatures were invalid.
type Cause struct {
	Signature string `json:"signature"` // linker-signed, adhoc, cms or none
	Cause     string `json:"cause"`
	Repaired  int64  `json:"repaired"` // slices
	Invalid   int64  `json:"invalid"`
	Paths     int64  `json:"paths"`
}

// A Problem is an invalid slice that was not repaired, or a path that failed.
type Problem struct {
	StorePath string `json:"storePath"`
	Path      string `json:"path,omitempty"` // in the store path
	Arch      string `json:"arch,omitempty"`
	Signature string `json:"signature,omitempty"`
	Status    string `json:"status"`
	Reason    string `json:"reason"`
}

// Changes compares the store paths with invalid or repaired signatures to those of an earlier summary.
type Changes struct {
	New  []string `json:"new"`
	Gone []string `json:"gone"`
	Same int      `json:"same"`
}

// A Reader reads ledgers.
type Reader struct {
	budget  *report.Budget
	work    *ledger.Work
	from    time.Time
	to      time.Time
	paths   *worklist.Set
	status  worklist.Chunks[uint8] // of each path, by its number: its place in names
	names   []string               // of statuses
	broken  map[worklist.Hash]*broken
	omitted int64

	closures map[worklist.Shard]searched
	clock    time.Time // of the last closure in the ledger that is read; later lines are later
}

// broken is a path that has an invalid or repaired signature or that failed.
type broken struct {
	storePath  string
	err        string
	signatures []ledger.Signature
	repaired   int64
	invalid    int64
	omitted    int64
	memory     int
}

// NewReader returns a Reader that charges b for its memory of broken paths.
func NewReader(b *report.Budget) *Reader {
	return &Reader{budget: b, paths: worklist.NewSet(), broken: map[worklist.Hash]*broken{}}
}

// OnlyBroken makes r forget all paths but the broken ones, for a Reader to compare with.
func (r *Reader) OnlyBroken() *Reader {
	r.paths = nil
	return r
}

// maxDecoder bounds the memory for decompressing a ledger, in bytes. It is enough for xz -9.
const maxDecoder = 80 << 20

// Read reads a ledger, which may be compressed. All ledgers of a Reader must record the same work.
func (r *Reader) Read(in io.Reader) error {
	dec, _, err := compression.DecompressWith(in, -1, func(n int64) error {
		if n > maxDecoder {
			return fmt.Errorf("%w: it takes %d MiB of memory, want at most %d: compress the ledger with xz -9, or with zstd -19", compression.ErrMemory, n>>20, maxDecoder>>20)
		}
		return nil
	})
	if err != nil {
		return err
	}
	defer dec.Close()
	_, err = ledger.Read(dec, func(_ int, w ledger.Work) error {
		if r.work != nil && *r.work != w {
			return fmt.Errorf("a ledger of other work than the one before: %q, %q", w.Command+"; "+w.Options, r.work.Command+"; "+r.work.Options)
		}
		r.work, r.clock = &w, time.Time{}
		return nil
	}, r.add, r.addClosure)
	return err
}

// maxStatuses is the maximum number of different statuses, since a ledger may contain any text.
const maxStatuses = 32

func (r *Reader) add(_ int, l *ledger.Line) error {
	h, err := l.Hash()
	if err != nil {
		return err
	}
	if r.from.IsZero() || l.At.Before(r.from) {
		r.from = l.At
	}
	if l.At.After(r.to) {
		r.to = l.At
	}
	if err := r.note(h, l.Status); err != nil {
		return err
	}
	if old := r.broken[h]; old != nil {
		r.budget.Give(old.memory)
		r.omitted -= old.omitted
		delete(r.broken, h)
	}
	if len(l.Signatures) == 0 && l.Omitted == 0 && l.Status != ledger.Failed {
		return nil
	}
	b := newBroken(l)
	if !r.budget.Take(b.memory) {
		b.omitted += int64(len(l.Signatures))
		b.signatures, b.err, b.memory = nil, "", brokenMemory+len(b.storePath)
		if !r.budget.Take(b.memory) {
			r.omitted += b.omitted
			return nil
		}
	}
	r.omitted += b.omitted
	r.broken[h] = b
	return nil
}

// brokenMemory is the memory for a broken path, without its texts and signatures, in bytes.
const brokenMemory = 256

func newBroken(l *ledger.Line) *broken {
	b := &broken{storePath: strings.Clone(l.StorePath), signatures: l.Signatures, omitted: l.Omitted}
	if l.Status == ledger.Failed {
		b.err = strings.Clone(l.Error)
	}
	b.memory = brokenMemory + len(b.storePath) + len(b.err)
	for i := range b.signatures {
		s := &b.signatures[i]
		if s.Status == macho.StatusRepaired {
			b.repaired++
		} else {
			b.invalid++
		}
		b.memory += report.Memory(&s.Slice) + len(s.Path) + len(s.Arch) + len(s.Signature) + len(s.Status)
	}
	return b
}

// Summary adds up the ledgers. before, if not nil, is the Reader of the ledgers to compare with.
func (r *Reader) Summary(before *Reader) *Summary {
	s := &Summary{From: r.from, To: r.to, Paths: map[string]int64{}, Omitted: r.omitted}
	if r.work != nil {
		s.Work = *r.work
	}
	s.Closures = r.compareClosures()
	for i := range r.status.Len() {
		s.Paths[r.names[*r.status.At(i)]]++
	}
	packages, causes := map[string]*Package{}, map[[2]string]*Cause{}
	s.Unlisted = s.Paths[ledger.Failed]
	for _, b := range r.broken {
		if b.err != "" {
			s.Unlisted--
		}
		if b.repaired+b.invalid+b.omitted > 0 {
			s.affected++
		}
		s.Repaired += b.repaired
		s.Invalid += b.invalid
		name := packageName(b.storePath)
		p := packages[name]
		if p == nil {
			p = &Package{Name: name}
			packages[name] = p
		}
		p.Paths++
		p.Repaired += b.repaired
		p.Invalid += b.invalid
		b.addCauses(causes)
		s.Unrepaired = append(s.Unrepaired, b.problems()...)
	}
	for _, p := range packages {
		s.Packages = append(s.Packages, *p)
	}
	slices.SortFunc(s.Packages, func(a, b Package) int {
		return cmp.Or(cmp.Compare(b.Repaired+b.Invalid, a.Repaired+a.Invalid), strings.Compare(a.Name, b.Name))
	})
	for _, c := range causes {
		s.Causes = append(s.Causes, *c)
	}
	slices.SortFunc(s.Causes, func(a, b Cause) int {
		return cmp.Or(cmp.Compare(b.Repaired+b.Invalid, a.Repaired+a.Invalid), strings.Compare(a.Signature+a.Cause, b.Signature+b.Cause))
	})
	slices.SortFunc(s.Unrepaired, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.StorePath, b.StorePath), strings.Compare(a.Path, b.Path), strings.Compare(a.Arch, b.Arch))
	})
	if before != nil {
		s.Changes = r.changes(before)
	}
	return s
}

// maxCauses is the maximum number of different causes, since reasons may contain numbers.
const maxCauses = 1000

func (b *broken) addCauses(causes map[[2]string]*Cause) {
	seen := map[*Cause]bool{}
	for i := range b.signatures {
		s := &b.signatures[i]
		key := [2]string{s.Signature, cause(&s.Slice)}
		if causes[key] == nil && len(causes) >= maxCauses {
			key = [2]string{"", "other"}
		}
		c := causes[key]
		if c == nil {
			c = &Cause{Signature: key[0], Cause: key[1]}
			causes[key] = c
		}
		if s.Status == macho.StatusRepaired {
			c.Repaired++
		} else {
			c.Invalid++
		}
		if !seen[c] {
			seen[c] = true
			c.Paths++
		}
	}
}

// cause returns the reason why a slice was invalid.
func cause(s *macho.Slice) string {
	var pages, special bool
	for i := range s.CodeDirectories {
		pages = pages || len(s.CodeDirectories[i].Stale) > 0
		special = special || len(s.CodeDirectories[i].StaleSpecial) > 0
	}
	stale := ""
	switch {
	case pages && special:
		stale = "pages and special slots do not match"
	case special:
		stale = "special slots do not match"
	case pages:
		stale = "pages do not match"
	}
	switch s.Status {
	case macho.StatusRepaired, macho.StatusStale:
		return cmp.Or(stale, s.Reason, string(macho.StatusStale))
	}
	reason, _, _ := strings.Cut(s.Reason, "; ")
	return strings.TrimSuffix(string(s.Status)+": "+reason, ": ")
}

// problems returns the slices that were not repaired, and the error of the path.
func (b *broken) problems() []Problem {
	var list []Problem
	if b.err != "" {
		list = append(list, Problem{StorePath: b.storePath, Status: ledger.Failed, Reason: b.err})
	}
	for i := range b.signatures {
		if s := &b.signatures[i]; s.Status != macho.StatusRepaired {
			list = append(list, Problem{b.storePath, s.Path, s.Arch, s.Signature, string(s.Status), cmp.Or(s.Reason, cause(&s.Slice))})
		}
	}
	return list
}

func (r *Reader) changes(before *Reader) *Changes {
	c := &Changes{New: []string{}, Gone: []string{}}
	for h, b := range r.broken {
		if before.broken[h] == nil {
			c.New = append(c.New, b.storePath)
		} else {
			c.Same++
		}
	}
	for h, b := range before.broken {
		if r.broken[h] == nil {
			c.Gone = append(c.Gone, b.storePath)
		}
	}
	slices.Sort(c.New)
	slices.Sort(c.Gone)
	return c
}

// packageName returns the name of a store path without its version. The version begins after a dash that is not
// followed by a letter, as in Nix's parseDrvName.
func packageName(path string) string {
	name := path[strings.LastIndexByte(path, '/')+1:]
	if len(name) > storepath.HashLen {
		name = name[storepath.HashLen+1:]
	}
	for i := 1; i+1 < len(name); i++ {
		if c := name[i+1]; name[i] == '-' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return name[:i]
		}
	}
	return name
}

// total returns the number of paths.
func (s *Summary) total() (n int64) {
	for _, k := range s.Paths {
		n += k
	}
	return n
}

// statuses returns the statuses in alphabetical order.
func (s *Summary) statuses() []string { return slices.Sorted(maps.Keys(s.Paths)) }
