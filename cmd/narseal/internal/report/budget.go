package report

import (
	"sync/atomic"

	"narseal/macho"
)

// DefaultBudget is the size in bytes of a run's Budget. It holds a few hundred thousand slices.
const DefaultBudget = 64 << 20

// A Budget bounds what a run keeps of its input: one for all lists and reports together. What is kept counts with its
// size in memory. When it is printed, its path counts with the whole length: paths of deep directories share in memory
// what lies above, and repeat it in print. What does not fit is left out and counted.
//
// A nil Budget has no limit. Several goroutines may use a Budget at once.
type Budget struct{ left atomic.Int64 }

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
