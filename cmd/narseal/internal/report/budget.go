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

// A Budget limits the memory for what a run remembers of its input. All lists and reports of a run share one Budget.
// Everything that is remembered is charged with its size in memory. A path that is printed is charged with its full
// length: in memory, the paths of a deep directory share its name, but each printed path repeats it. Items that do not
// fit are left out and counted.
//
// For streams and directories, the total length of printed paths is also limited in proportion to the bytes read. An
// archive stores each name only once, while the printed paths repeat the names of deep directories for each file in
// them.
//
// A nil Budget has no limit. Several goroutines may use a Budget at the same time.
type Budget struct {
	left    atomic.Int64
	limited atomic.Bool  // printed paths are limited
	paths   atomic.Int64 // bytes of paths that may still be printed
}

const (
	// freePaths is the total length of paths, in bytes, that may always be printed for all inputs together.
	freePaths = 1 << 20
	// pathRatio is the number of bytes of paths that may be printed for each byte that is read. An entry of an archive
	// takes 112 bytes and its contents, so ordinary archives stay far below the limit.
	pathRatio = 1
	// entryRead is the number of bytes for which an entry of a directory counts.
	entryRead = 512
)

// Reader returns a reader of r that allows for more paths to be printed as bytes are read.
func (b *Budget) Reader(r io.Reader) io.Reader {
	if b == nil {
		return r
	}
	b.limit()
	return &readBudget{r, b}
}

// limit starts the limit for printed paths. Paths that were printed before do not count.
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

// Entry counts an entry of a directory, or an archive, of size bytes as read.
func (b *Budget) Entry(size int64) {
	if b != nil {
		b.limit()
		b.paths.Add((entryRead + size) * pathRatio)
	}
}

// TakePath charges a path that will be printed, and reports whether it fits.
func (b *Budget) TakePath(p nar.Path) bool {
	if b == nil {
		return true
	}
	n := int64(p.Len())
	if b.limited.Load() {
		if b.paths.Load() < n {
			return false
		}
		n = encodedLength(p)
	}
	if b.limited.Load() && b.paths.Add(-n) < 0 {
		b.paths.Add(n - int64(p.Len())) // charge for the time that encodedLength took
		return false
	}
	return b.Take(p.Len())
}

// freePath is the maximum length of a path in JSON, in bytes, that is printed in any case. An entry of an archive takes
// almost half as much.
const freePath = 512

// isFree reports whether a path is printed in any case.
func isFree(p nar.Path) bool { return p.Len() <= freePath && encodedLength(p) <= freePath }

// encodedLength returns the maximum length of a path in JSON, in bytes.
func encodedLength(p nar.Path) (n int64) {
	p.Pieces(func(piece string) {
		if n += int64(len(piece)); !utf8.ValidString(piece) {
			n += 4 * int64(len(piece))
		}
	})
	return n
}

// NewBudget returns a Budget with this number of bytes.
func NewBudget(bytes int64) *Budget {
	b := &Budget{}
	b.left.Store(bytes)
	return b
}

// Take charges n bytes, and reports whether they fit. If they do not, it charges nothing.
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

// Give returns n bytes that Take charged and that are no longer in use.
func (b *Budget) Give(n int) {
	if b != nil {
		b.left.Add(int64(n))
	}
}

// Memory returns the size of a slice in memory, in bytes. It does not count the path, which shares most of its memory
// with other paths.
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

// Sizes in memory, in bytes, rounded up. They include the headers of slices and strings, and the last name of a path.
const (
	sliceMemory     = 320
	directoryMemory = 96
	regionMemory    = 48
	stringMemory    = 16
	changeMemory    = 64
	ruleMemory      = 40
	archiveMemory   = 320
)
