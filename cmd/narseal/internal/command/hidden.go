package command

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"narseal/cmd/narseal/internal/terminal"
	"narseal/filter/refs"
	"narseal/filter/rules"
)

// maxPlaces bounds the entries that are named in which a hash is.
const maxPlaces = 20

// hiddenList warns of references in packed files, which a rewrite cannot reach.
type hiddenList struct {
	*Env
	rules *rules.Set
	seen  map[int]int64  // references, by rule
	last  map[int]string // the entry of the last one
}

func newHiddenList(e *Env, set *rules.Set) *hiddenList {
	return &hiddenList{e, set, map[int]int64{}, map[int]string{}}
}

func (l *hiddenList) add(r *refs.Reference) error {
	l.seen[r.Hash]++
	if entry := r.Path.Short() + r.Member; l.last[r.Hash] != entry && l.seen[r.Hash] <= maxPlaces {
		l.last[r.Hash] = entry
		l.Terminal.Warnf("%s: %s is hidden here, where no rewrite reaches it (%s)", describePlace("", r), l.rules.Rule(r.Hash).From, r.Encoding)
	}
	return nil
}

// end says how many references there are by rules of which not all were named.
func (l *hiddenList) end() {
	for _, rule := range slices.Sorted(maps.Keys(l.seen)) {
		if n := l.seen[rule]; n > maxPlaces {
			l.Terminal.Warnf("%s: %d hidden references in all", l.rules.Rule(rule).From, n)
		}
	}
}

// describePlace says where a reference is. The archive, which may be empty, is the store path of one of an export
// stream.
func describePlace(archive string, r *refs.Reference) string {
	s := terminal.Printable(r.Path.Short() + r.Member)
	if r.Packed != "" {
		s += " (" + r.Packed + ")"
	}
	if archive != "" {
		s = strings.TrimSuffix(archive+": "+s, ": ")
	}
	if r.Part != refs.InContents {
		return fmt.Sprintf("%s: %s", s, r.Part)
	}
	return fmt.Sprintf("%s: offset %d", s, r.Offset)
}
