package command

import (
	"narseal/cmd/narseal/internal/atomicfile"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/filter/refs"
	"narseal/filter/spill"
)

// Common are the options of every command that works on archives or files.
type Common struct {
	Report      string // the file of --report, or Stream; empty: none
	SpillMemory int64  // bytes of an image, or of renamed entries, that are kept in memory; 0: the default
}

// Spill returns where the command keeps what is too large for memory.
func (o *Common) Spill(e *Env) spill.Options {
	return spill.Options{Memory: o.SpillMemory, Open: func() (spill.File, error) {
		f, err := atomicfile.Temp(e.Cleanup)
		if err != nil {
			return nil, err // not f, which would be a File that is nil inside
		}
		return f, nil
	}}
}

// Unpack are the limits of looking into packed files. 0 stands for the default.
type Unpack struct {
	Depth int   // levels of packing inside each other
	Size  int64 // bytes that a file expands to
	Ratio int   // bytes that a byte expands to
}

// unpack returns how packed files are searched. What is not searched completely is a warning.
func (o *Unpack) unpack(e *Env, s spill.Options) *refs.Unpack {
	return &refs.Unpack{Depth: o.Depth, Size: o.Size, Ratio: int64(o.Ratio), Spill: s, Warn: func(path string, err error) {
		e.Terminal.Warnf("%s: not all of it was searched: %v", terminal.Printable(path), err)
	}}
}
