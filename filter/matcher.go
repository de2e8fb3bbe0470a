package filter

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Rules is a compiled set of rules. It does not change and is safe for
// concurrent use.
//
// An occurrence of a rule is the exact bytes of its From in one of the set's
// encodings, wherever they stand: what comes before and after does not matter.
// So a hash is found inside a longer run of base 32 characters, and a base name
// is found before any character that follows it, as with "s|OLD|NEW|g": the
// full stop after a path in a sentence could belong to a name too, and bytes
// cannot tell them apart.
//
// All rules apply at once, from left to right: of several occurrences the one
// that starts first is taken, of those that start at one place the longest (so
// a base name goes before its own hash, and before a base name that it
// extends), and the search goes on behind it, never inside what was put in its
// place. Swaps work; chains do not cascade.
type Rules struct {
	rules []Rule
	enc   Encodings

	// groups finds the rules that share a hash part: order[lo:hi].
	groups map[[hashLen]byte]group
	order  []int32 // rules by group, in a group by From
	parent []int32 // beside order: the place of the longest From that this one extends, or -1

	grams   gramSet    // the hash parts' grams in one byte a character
	windows bitset     // the hash parts whole
	pairs   *pairTable // which grams can be part of a hash part at all
	kinds   gramKind   // those of enc
	many    bool       // to be searched by skipMany; else grams holds those of the wide encodings too
	longest int        // length of the longest From
}

type group struct{ lo, hi int32 }

// Compile makes a set of rules that looks for them in the encodings enc. It
// refuses an empty set, a rule that ParseRule would refuse, and two rules that
// replace the same thing by different ones. A rule that is given twice counts
// once.
func Compile(rules []Rule, enc Encodings) (*Rules, error) {
	if len(rules) == 0 {
		return nil, errors.New("no rules")
	}
	if enc == 0 || enc&^AllEncodings != 0 {
		return nil, fmt.Errorf("invalid set of encodings %#x", uint8(enc))
	}
	r := &Rules{rules: make([]Rule, 0, len(rules)), enc: enc}
	seen := make(map[string]string, len(rules))
	for _, rule := range rules {
		rule, err := rule.normalize()
		if err != nil {
			return nil, fmt.Errorf("rule %q: %w", rule.From+"="+rule.To, err)
		}
		if to, ok := seen[rule.From]; ok {
			if to != rule.To {
				return nil, fmt.Errorf("two rules for %q: one gives %q, one %q", rule.From, to, rule.To)
			}
			continue
		}
		seen[rule.From] = rule.To
		r.rules = append(r.rules, rule)
		r.longest = max(r.longest, len(rule.From))
	}
	r.group()
	r.fillSets()
	return r, nil
}

const (
	manyHashes = 1000 // more hash parts are searched by skipMany

	// Bits of the sets for each hash part, at least.
	gramBits    = 320
	gramBitsFew = 4096
	windowBits  = 32
)

// fillSets fills the sets that the search asks.
func (r *Rules) fillSets() {
	r.pairs, r.kinds = hashPairs(), kindsOf(r.enc)
	r.many = len(r.groups) > manyHashes
	r.windows = newBitset(len(r.groups) * windowBits)
	for hash := range r.groups {
		r.windows.add(windowHash(hash[:]))
	}
	shapes, size := gramShapes[:1], len(r.groups)*gramBits
	if !r.many {
		shapes, size = gramShapes[:], len(r.groups)*gramBitsFew
	}
	r.grams = newGramSet(size, func(add func(uint64)) {
		for hash := range r.groups {
			for i, shape := range shapes {
				if i > 0 && r.kinds&(1<<i) == 0 {
					continue // those in one byte a character are always needed
				}
				for at := 0; at*shape.enc.width() < sampleStep; at++ {
					add(shape.gram(hash[at:]))
				}
			}
		}
	})
}

// group fills groups, order and parent.
func (r *Rules) group() {
	r.order = make([]int32, len(r.rules))
	for i := range r.order {
		r.order[i] = int32(i)
	}
	slices.SortFunc(r.order, func(a, b int32) int {
		return strings.Compare(r.rules[a].From, r.rules[b].From)
	})
	r.groups = make(map[[hashLen]byte]group)
	r.parent = make([]int32, len(r.rules))
	for i, rule := range r.order {
		from := r.rules[rule].From
		hash := [hashLen]byte([]byte(from))
		g, ok := r.groups[hash]
		if !ok {
			g.lo = int32(i)
		}
		g.hi = int32(i) + 1
		r.groups[hash] = g
		// Sorted, all that this one extends are among the one before it and
		// what that one extends.
		p := int32(i) - 1
		for p >= g.lo && !strings.HasPrefix(from, r.rules[r.order[p]].From) {
			p = r.parent[p]
		}
		if p < g.lo {
			p = -1
		}
		r.parent[i] = p
	}
}

// Len returns the number of rules, without those given twice.
func (r *Rules) Len() int { return len(r.rules) }

// Rule returns rule i, counted from 0 in the order in which the rules were
// given to Compile.
func (r *Rules) Rule(i int) Rule { return r.rules[i] }

// lookup returns the longest rule whose From begins text, which holds at least
// a hash part.
func (r *Rules) lookup(text []byte) (rule int, ok bool) {
	g, ok := r.groups[[hashLen]byte(text)]
	if !ok {
		return 0, false
	}
	if g.hi-g.lo == 1 {
		i := r.order[g.lo]
		from := r.rules[i].From
		return int(i), len(from) <= len(text) && from == string(text[:len(from)])
	}
	// The last From that is not above text, or one that it extends.
	text = text[:min(len(text), r.longest)]
	lo, hi := g.lo, g.hi
	for lo < hi {
		mid := lo + (hi-lo)/2
		if r.rules[r.order[mid]].From <= string(text) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	i := lo - 1
	if i < g.lo {
		return 0, false
	}
	common := commonPrefix(r.rules[r.order[i]].From, text)
	for i >= 0 && len(r.rules[r.order[i]].From) > common {
		i = r.parent[i]
	}
	if i < 0 {
		return 0, false
	}
	return int(r.order[i]), true
}

func commonPrefix(a string, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}
