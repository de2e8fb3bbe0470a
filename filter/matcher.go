package filter

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
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
	r := &Rules{rules: make([]Rule, len(rules)), enc: enc}
	errs := halves(len(rules), func(lo, hi int) error {
		for i, rule := range rules[lo:hi] {
			var err error
			if r.rules[lo+i], err = rule.normalize(); err != nil {
				return fmt.Errorf("rule %q: %w", rule.From+"="+rule.To, err)
			}
		}
		return nil
	})
	if err := cmp.Or(errs[0], errs[1]); err != nil {
		return nil, err
	}
	for _, rule := range r.rules {
		r.longest = max(r.longest, len(rule.From))
	}
	if err := r.sort(); err != nil {
		return nil, err
	}
	var wg sync.WaitGroup
	wg.Go(r.group)
	r.fillSets(len(r.rules) > manyRules)
	wg.Wait()
	return r, nil
}

// halves calls f for both halves of n things, at once.
func halves(n int, f func(lo, hi int) error) (errs [2]error) {
	var wg sync.WaitGroup
	wg.Go(func() { errs[1] = f(n/2, n) })
	errs[0] = f(0, n/2)
	wg.Wait()
	return errs
}

// keyed is a rule's number beside the first 8 characters of its From, which
// save most looks at strings.
type keyed struct {
	key uint64
	i   int32
}

// sorted returns the rules in the order of From, then of their numbers.
func (r *Rules) sorted() []keyed {
	compare := func(a, b keyed) int {
		if a.key != b.key {
			return cmp.Compare(a.key, b.key)
		}
		return cmp.Or(strings.Compare(r.rules[a.i].From, r.rules[b.i].From), cmp.Compare(a.i, b.i))
	}
	keys := make([]keyed, len(r.rules))
	halves(len(keys), func(lo, hi int) error {
		for i := lo; i < hi; i++ {
			keys[i] = keyed{binary.BigEndian.Uint64([]byte(r.rules[i].From)), int32(i)}
		}
		slices.SortFunc(keys[lo:hi], compare)
		return nil
	})
	merged := make([]keyed, 0, len(keys))
	a, b := keys[:len(keys)/2], keys[len(keys)/2:]
	for len(a) > 0 && len(b) > 0 {
		if compare(a[0], b[0]) < 0 {
			merged, a = append(merged, a[0]), a[1:]
		} else {
			merged, b = append(merged, b[0]), b[1:]
		}
	}
	return append(append(merged, a...), b...)
}

// sort fills order and drops rules that are given twice.
func (r *Rules) sort() error {
	keys := r.sorted()
	r.order = make([]int32, len(r.rules))
	for k := range keys {
		r.order[k] = keys[k].i
	}
	var twice []int32
	last := int32(-1)
	for k, i := range r.order {
		if last >= 0 && keys[k].key == keys[k-1].key && r.rules[i].From == r.rules[last].From {
			if r.rules[i].To != r.rules[last].To {
				return fmt.Errorf("two rules for %q: one gives %q, one %q", r.rules[i].From, r.rules[last].To, r.rules[i].To)
			}
			twice = append(twice, i)
			continue
		}
		last = i
	}
	if len(twice) == 0 {
		return nil
	}
	slices.Sort(twice)
	r.order = slices.DeleteFunc(r.order, func(i int32) bool {
		_, drop := slices.BinarySearch(twice, i)
		return drop
	})
	for k, i := range r.order {
		before, _ := slices.BinarySearch(twice, i)
		r.order[k] = i - int32(before)
	}
	n := 0
	for i, rule := range r.rules {
		if _, drop := slices.BinarySearch(twice, int32(i)); !drop {
			r.rules[n] = rule
			n++
		}
	}
	r.rules = r.rules[:n]
	return nil
}

const (
	manyRules = 1000 // more are searched by skipMany

	// Bits of the sets for each rule, at least.
	gramBits   = 320
	windowBits = 32
	// Few rules have more, so that nearly no sample passes by chance: as
	// much as stays in the first-level cache, and no more than half of a
	// second-level one.
	gramBitsFew = 16384
	minBitsFew  = 1 << 16
	maxBitsFew  = 1 << 22
)

// fillSets fills the sets that the search asks, for few or many rules.
func (r *Rules) fillSets(many bool) {
	r.pairs, r.kinds, r.many = hashPairs(), kindsOf(r.enc), many
	r.windows = newBitset(len(r.rules) * windowBits)
	for _, rule := range r.rules {
		r.windows.add(windowHash([]byte(rule.From)))
	}
	// Those in one byte a character are needed in any case: the characters of
	// wide grams are looked up as such.
	shapes, size := gramShapes[:1], len(r.rules)*gramBits
	if !many {
		shapes, size = shapesOf(r.enc|UTF8), max(minBitsFew, min(len(r.rules)*gramBitsFew, maxBitsFew))
	}
	r.grams = newGramSet(size, func(s gramSet) {
		for _, rule := range r.rules {
			for _, shape := range shapes {
				s.addHash(rule.From, shape)
			}
		}
	})
}

// group fills groups and parent.
func (r *Rules) group() {
	r.groups = make(map[[hashLen]byte]group, len(r.rules))
	r.parent = make([]int32, len(r.rules))
	from := func(i int) string { return r.rules[r.order[i]].From }
	for lo, hi := 0, 0; lo < len(r.order); lo = hi {
		hash := from(lo)[:hashLen]
		for hi = lo; hi < len(r.order) && from(hi)[:hashLen] == hash; hi++ {
			// Sorted, all that this one extends are among the one before it
			// and what that one extends.
			p := hi - 1
			for p >= lo && !strings.HasPrefix(from(hi), from(p)) {
				p = int(r.parent[p])
			}
			if p < lo {
				p = -1
			}
			r.parent[hi] = int32(p)
		}
		r.groups[[hashLen]byte([]byte(hash))] = group{int32(lo), int32(hi)}
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
