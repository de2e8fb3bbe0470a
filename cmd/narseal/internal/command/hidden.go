package command

import (
	"maps"
	"slices"

	"narseal/filter/refs"
	"narseal/filter/rules"
)

// hiddenList warns of references in packed files, which a rewrite cannot reach.
type hiddenList struct {
	*Env
	rules *rules.Set
	seen  map[int]int64  // references, by rule
	last  map[int]string // the entry of the last reference, by rule
}

func newHiddenList(e *Env, set *rules.Set) *hiddenList {
	return &hiddenList{e, set, map[int]int64{}, map[int]string{}}
}

func (l *hiddenList) add(r *refs.Reference) error {
	l.seen[r.Hash]++
	if entry := r.Path.Short() + r.Member; l.last[r.Hash] != entry && l.seen[r.Hash] <= maxPlaces {
		l.last[r.Hash] = entry
		l.Terminal.Warnf("%s: %s is in a packed file, where rewrite cannot replace it (%s)", newPlace(r), l.rules.Rule(r.Hash).From, r.Encoding)
	}
	return nil
}

// end prints the number of references of each rule that has more than add printed.
func (l *hiddenList) end() {
	for _, rule := range slices.Sorted(maps.Keys(l.seen)) {
		if n := l.seen[rule]; n > maxPlaces {
			l.Terminal.Warnf("%s: %d hidden references in all", l.rules.Rule(rule).From, n)
		}
	}
}
