package rules

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"math/bits"
	"slices"
	"strings"
)

// A ruleIndex finds rules by their From.
type ruleIndex struct {
	rules []Rule

	// slots is a hash table of the hash parts. 0 is a free slot, i+1 is rule i alone, ^g is groups[g].
	slots  []int32
	seed   maphash.Seed
	groups []group
	order  []int32 // the rules of all groups, each group sorted by From
	parent []int32 // for each rule in order, the index there of the longest From that its From extends, or -1

	longest int // length of the longest From
}

// group is several rules with the same hash part: order[lo:hi].
type group struct{ lo, hi int32 }

// newRuleIndex returns an index of the rules. If rules are duplicated, it returns no index, but the numbers of the
// duplicates, without the first of each, in ascending order. Two rules that replace the same text differently are an
// error.
func newRuleIndex(rules []Rule) (x *ruleIndex, twice []int32, err error) {
	x = &ruleIndex{rules: rules, seed: maphash.MakeSeed()}
	x.slots = make([]int32, 1<<bits.Len(uint(2*len(rules)-1)))
	var shared []int  // slots of groups
	var other []int32 // for each rule, another one with the same hash part; these form lists that end in 0
	for i, rule := range rules {
		x.longest = max(x.longest, len(rule.From))
		slot := x.slot(rule.From[:hashLen])
		if x.slots[slot] == 0 {
			x.slots[slot] = int32(i) + 1
			continue
		}
		if other == nil {
			other = make([]int32, len(rules))
		}
		first := x.slots[slot] - 1
		if other[first] == 0 {
			shared = append(shared, slot)
		}
		other[i], other[first] = other[first], int32(i)
	}
	for _, slot := range shared {
		lo := len(x.order)
		first := x.slots[slot] - 1
		x.order = append(x.order, first)
		for i := other[first]; i != 0; i = other[i] {
			x.order = append(x.order, i)
		}
		again, err := x.sort(x.order[lo:])
		if err != nil {
			return nil, nil, err
		}
		twice = append(twice, again...)
		x.slots[slot] = ^int32(len(x.groups))
		x.groups = append(x.groups, group{int32(lo), int32(len(x.order))})
	}
	if twice != nil {
		slices.Sort(twice)
		return nil, twice, nil
	}
	x.nest()
	return x, nil, nil
}

// sort sorts the rules of a group. It returns duplicates, without the first of each.
func (x *ruleIndex) sort(group []int32) (twice []int32, err error) {
	slices.SortFunc(group, func(i, j int32) int {
		return cmp.Or(strings.Compare(x.rules[i].From, x.rules[j].From), cmp.Compare(i, j))
	})
	last := x.rules[group[0]]
	for _, i := range group[1:] {
		rule := x.rules[i]
		if rule.From != last.From {
			last = rule
			continue
		}
		if rule.To != last.To {
			return nil, fmt.Errorf("two rules for %q: one gives %q, one %q", rule.From, last.To, rule.To)
		}
		twice = append(twice, i)
	}
	return twice, nil
}

// nest fills parent.
func (x *ruleIndex) nest() {
	x.parent = make([]int32, len(x.order))
	for _, g := range x.groups {
		for i := g.lo; i < g.hi; i++ {
			// In sorted order, From extends the one before it, or one that the one before it extends.
			p := i - 1
			for p >= g.lo && !strings.HasPrefix(x.from(i), x.from(p)) {
				p = x.parent[p]
			}
			if p < g.lo {
				p = -1
			}
			x.parent[i] = p
		}
	}
}

// from returns the From of the rule at an index of order.
func (x *ruleIndex) from(place int32) string { return x.rules[x.order[place]].From }

// slot returns the slot of a hash part, or the free slot where it belongs.
func (x *ruleIndex) slot(hash string) int {
	slot := int(maphash.String(x.seed, hash)) & (len(x.slots) - 1)
	for ; ; slot = (slot + 1) & (len(x.slots) - 1) {
		i := x.slots[slot]
		switch {
		case i == 0:
			return slot
		case i < 0:
			i = x.order[x.groups[^i].lo]
		default:
			i--
		}
		if x.rules[i].From[:hashLen] == hash {
			return slot
		}
	}
}

// lookup returns the longest rule whose From is a prefix of text. text has at least the length of a hash part.
func (x *ruleIndex) lookup(text []byte) (rule int, ok bool) {
	i := x.slots[x.slot(string(text[:hashLen]))]
	if i >= 0 {
		if i--; i < 0 {
			return 0, false
		}
		from := x.rules[i].From
		return int(i), len(from) <= len(text) && from == string(text[:len(from)])
	}
	// Find the last From that is not greater than text, or one that it extends.
	text = text[:min(len(text), x.longest)]
	g := x.groups[^i]
	lo, hi := g.lo, g.hi
	for lo < hi {
		mid := lo + (hi-lo)/2
		if x.from(mid) <= string(text) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	place := lo - 1
	if place < g.lo {
		return 0, false
	}
	common := commonPrefix(x.from(place), text)
	for place >= 0 && len(x.from(place)) > common {
		place = x.parent[place]
	}
	if place < 0 {
		return 0, false
	}
	return int(x.order[place]), true
}

// prefix returns the longest rule whose From is a prefix of that of a rule, if there is one.
func (x *ruleIndex) prefix(rule int) (int, bool) {
	from := x.rules[rule].From
	i := x.slots[x.slot(from[:hashLen])]
	if i >= 0 {
		return 0, false // the only one with this hash part
	}
	g := x.groups[^i]
	place, _ := slices.BinarySearchFunc(x.order[g.lo:g.hi], from, func(i int32, from string) int {
		return strings.Compare(x.rules[i].From, from)
	})
	parent := x.parent[g.lo+int32(place)]
	if parent < 0 {
		return 0, false
	}
	return int(x.order[parent]), true
}

func commonPrefix(a string, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}
