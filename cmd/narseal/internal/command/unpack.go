package command

import (
	"maps"
	"slices"

	"narseal/cmd/narseal/internal/terminal"
	"narseal/filter"
	"narseal/filter/refs"
	"narseal/filter/rules"
)

// UnpackOptions say how far packed files are looked into.
type UnpackOptions struct {
	Depth int   // levels of packing inside each other
	Size  int64 // bytes that a file expands to
	Ratio int64
}

// unpack returns how far packed files are looked into. What is not searched is a warning.
func (e *Env) unpack(o *UnpackOptions, spillMemory int64) *refs.Unpack {
	warn := func(path string, err error) {
		e.Terminal.Warnf("%s: not all of it was searched: %v", terminal.Printable(path), err)
	}
	return &refs.Unpack{Depth: o.Depth, Size: o.Size, Ratio: o.Ratio, Warn: warn, Spill: e.spill(spillMemory)}
}

// Hidden warns of references in packed files, which a rewrite cannot reach.
type Hidden struct {
	e     *Env
	rules *rules.Set
	count map[int]int64  // references, by rule
	last  map[int]string // where the last one was
}

// WatchHidden makes a run warn of what its rules cannot reach.
func WatchHidden(e *Env, o *UnpackOptions, cfg *filter.Config) *Hidden {
	cfg.Unpack = e.unpack(o, cfg.Spill.Memory)
	h := &Hidden{e, cfg.Rules, map[int]int64{}, map[int]string{}}
	cfg.Observer.Hidden = h.add
	return h
}

func (h *Hidden) add(r *refs.Reference) error {
	p := place{path: r.Path, Member: r.Member, Packed: r.Packed, Part: r.Part, Offset: r.Offset}
	h.count[r.Hash]++
	if where := r.Path.Short() + r.Member; h.last[r.Hash] != where && h.count[r.Hash] <= maxPlaces {
		h.last[r.Hash] = where
		h.e.Terminal.Warnf("%s: %s is hidden here, where no rewrite reaches it (%s)", p.String(), h.rules.Rule(r.Hash).From, r.Encoding)
	}
	return nil
}

// End reports how many references there were, if not all were named.
func (h *Hidden) End() {
	for _, rule := range slices.Sorted(maps.Keys(h.count)) {
		if n := h.count[rule]; n > maxPlaces {
			h.e.Terminal.Warnf("%s: %d hidden references in all", h.rules.Rule(rule).From, n)
		}
	}
}
