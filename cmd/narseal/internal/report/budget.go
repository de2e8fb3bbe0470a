package report

import (
	"io"
	"sync/atomic"
	"unicode/utf8"

	"narseal/macho"
	"narseal/nar"
)

// DefaultBudget is the size in bytes of a run's Budget. It holds a few hundred thousand slices.
const DefaultBudget = 64 << 20

// A Budget bounds what a run keeps of its input: one for all lists and reports together. What is kept counts with its
// size in memory. When it is printed, its path counts with the whole length: paths of deep directories share in memory
// what lies above, and repeat it in print. What does not fit is left out and counted.
//
// Of streams and directories, all paths that are printed also have a length in proportion to what was read: an archive
// holds each name once, and its deep directories would be repeated for each file in them.
//
// A nil Budget has no limit. Several goroutines may use a Budget at once.
type Budget struct {
	left    atomic.Int64
	limited atomic.Bool  // by paths
	paths   atomic.Int64 // how many bytes of them may still be printed
}

const (
	// freePaths is the length in bytes of paths that may be printed in any case, of all inputs together.
	freePaths = 1 << 20
	// pathRatio is how many bytes of paths may be printed for each byte that was read. An entry of an archive takes 112
	// bytes and its contents, so that ordinary ones do not come near it.
	pathRatio = 1
	// entryRead is what an entry of a directory counts for, in bytes.
	entryRead = 512
)

// Reader returns a reader of an input of which paths may be printed.
func (b *Budget) Reader(r io.Reader) io.Reader {
	if b == nil {
		return r
	}
	b.limit()
	return &readBudget{r, b}
}

// limit makes paths count. What was printed before does not.
func (b *Budget) limit() {
	if b.limited.CompareAndSwap(false, true) {
		b.paths.Add(freePaths)
	}
}

type readBudget struct {
	io.Reader
	b *Budget
}

func (r *readBudget) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.b.paths.Add(int64(n) * pathRatio)
	return n, err
}

// Entry notes an entry of a directory, or an archive, of so many bytes.
func (b *Budget) Entry(size int64) {
	if b != nil {
		b.limit()
		b.paths.Add((entryRead + size) * pathRatio)
	}
}

// TakePath is Take for a path that is printed.
func (b *Budget) TakePath(p nar.Path) bool {
	if b == nil {
		return true
	}
	n := int64(p.Len())
	if b.limited.Load() && n > freePath {
		if b.paths.Load() < n {
			return false
		}
		n = encodedLength(p)
	}
	if b.limited.Load() && b.paths.Add(-n) < 0 {
		b.paths.Add(n - int64(p.Len())) // the time to look at it is spent
		return false
	}
	return b.Take(p.Len())
}

// encodedLength is the most that a path takes in JSON, in bytes.
func encodedLength(p nar.Path) (n int64) {
	p.Pieces(func(piece string) {
		if n += int64(len(piece)); !utf8.ValidString(piece) {
			n += 4 * int64(len(piece))
		}
	})
	return n
}

// NewBudget returns a Budget of this many bytes.
func NewBudget(bytes int64) *Budget {
	b := &Budget{}
	b.left.Store(bytes)
	return b
}

// Take charges n bytes, and reports whether there was room for them. If there was not, nothing is charged.
func (b *Budget) Take(n int) bool {
	if b == nil {
		return true
	}
	if b.left.Add(-int64(n)) >= 0 {
		return true
	}
	b.left.Add(int64(n))
	return false
}

// Give returns n bytes that Take charged, for what is no longer kept.
func (b *Budget) Give(n int) {
	if b != nil {
		b.left.Add(int64(n))
	}
}

// Memory is what a slice takes in memory, in bytes. Its path shares the directories with others and is not counted.
func Memory(s *macho.Slice) int {
	n := sliceMemory + len(s.Reason)
	for _, w := range s.Warnings {
		n += stringMemory + len(w)
	}
	for i := range s.CodeDirectories {
		d := &s.CodeDirectories[i]
		n += directoryMemory + 8*(len(d.Stale)+len(d.StaleSpecial))
	}
	if s.Bundle != nil {
		n += 3*stringMemory + len(s.Bundle.Path)
		for _, r := range s.Bundle.Resources {
			n += 2*stringMemory + len(r.Path) + len(r.Problem)
		}
	}
	for i := range s.Regions {
		n += regionMemory + len(s.Regions[i].Segment) + len(s.Regions[i].Section)
	}
	return n
}

// The sizes of what a list keeps, in bytes, rounded up: with the headers of slices and strings, and of a path's last name.
const (
	sliceMemory     = 320
	directoryMemory = 96
	regionMemory    = 48
	stringMemory    = 16
	changeMemory    = 64
	ruleMemory      = 40
	archiveMemory   = 320
)
