package command

import (
	"golang.org/x/sync/semaphore"

	"narseal/cmd/narseal/internal/atomicfile"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/filter/refs"
	"narseal/filter/spill"
	"narseal/macho/bundle"
)

// Common holds the options of every command that works on archives or files.
type Common struct {
	Report      string // the file of --report, or Stream; empty: none
	SpillMemory int64  // maximum bytes of an image, or of renamed entries, in memory; 0: the default
}

// HoldMemory returns --hold-memory, or its default, in bytes.
func (o *Common) HoldMemory() int64 { return spill.Options{Memory: o.SpillMemory}.Limit() }

// Memory returns a Budget of --hold-memory for everything that a run holds.
func (o *Common) Memory() *semaphore.Weighted { return semaphore.NewWeighted(o.HoldMemory()) }

// BundleMemory returns the memory for bundles of all paths together, in bytes, besides that of one bundle.
func (o *Common) BundleMemory() int { return int(min(bundle.DefaultPool, o.HoldMemory()/4)) }

// Spill returns the options for data that is too large for memory: it goes to temporary files. budget may be nil.
func (o *Common) Spill(e *Env, budget spill.Budget) spill.Options {
	return spill.Options{Memory: o.SpillMemory, Budget: budget, Open: func() (spill.File, error) {
		f, err := atomicfile.Temp(e.Cleanup)
		if err != nil {
			return nil, err // not f: a nil *os.File in a File is not nil
		}
		return f, nil
	}}
}

// Unpack holds the limits for searching packed files. 0 means the default.
type Unpack struct {
	Depth int   // levels of packed files inside each other
	Size  int64 // maximum size of an unpacked file, in bytes
	Ratio int   // maximum expansion ratio
}

// unpack returns the options for searching packed files. It prints a warning for each file that is not searched
// completely.
func (o *Unpack) unpack(e *Env, s spill.Options) *refs.Unpack {
	return &refs.Unpack{Depth: o.Depth, Size: o.Size, Ratio: int64(o.Ratio), Spill: s, Warn: func(path string, err error) {
		e.Terminal.Warnf("%s: not all of it was searched: %v", terminal.Printable(path), err)
	}}
}
