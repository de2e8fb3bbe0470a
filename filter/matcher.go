package filter

import (
	"cmp"
	"errors"
	"fmt"
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
	*ruleIndex
	enc Encodings

	grams   gramSet    // the hash parts' grams in one byte a character
	windows bitset     // the hash parts whole
	pairs   *pairTable // which grams can be part of a hash part at all
	kinds   gramKind   // those of enc
	many    bool       // to be searched by skipMany; else grams holds those of the wide encodings too
}

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
	checked := make([]Rule, len(rules))
	errs := halves(len(rules), func(lo, hi int) error {
		for i, rule := range rules[lo:hi] {
			var err error
			if checked[lo+i], err = rule.normalize(); err != nil {
				return fmt.Errorf("rule %q: %w", rule.From+"="+rule.To, err)
			}
		}
		return nil
	})
	if err := cmp.Or(errs[0], errs[1]); err != nil {
		return nil, err
	}
	r := &Rules{enc: enc}
	var sets sync.WaitGroup
	sets.Go(func() { r.fillSets(checked, len(checked) > manyRules) })
	index, twice, err := newRuleIndex(checked)
	sets.Wait()
	if twice != nil {
		index, _, err = newRuleIndex(without(checked, twice))
	}
	if err != nil {
		return nil, err
	}
	r.ruleIndex = index
	return r, nil
}

// without drops the rules with these numbers, which are in ascending order.
func without(rules []Rule, numbers []int32) []Rule {
	kept := rules[:0]
	for i, rule := range rules {
		if len(numbers) > 0 && int(numbers[0]) == i {
			numbers = numbers[1:]
			continue
		}
		kept = append(kept, rule)
	}
	return kept
}

// halves calls f for both halves of n things, at once.
func halves(n int, f func(lo, hi int) error) (errs [2]error) {
	var wg sync.WaitGroup
	wg.Go(func() { errs[1] = f(n/2, n) })
	errs[0] = f(0, n/2)
	wg.Wait()
	return errs
}

const (
	manyRules = 200 // more are searched by skipMany

	// Bits of the sets for each rule, at least.
	gramBits   = 160
	windowBits = 32
	// Grams have more where it is not too much, so that nearly no sample
	// passes by chance: as much as stays in the first-level cache, and no more
	// than half of a second-level one.
	gramBitsWanted    = 16384
	minGramBits       = 1 << 16
	maxGramBitsWanted = 1 << 22
)

// fillSets fills the sets that the search asks, for few or many rules.
func (r *Rules) fillSets(rules []Rule, many bool) {
	r.pairs, r.kinds, r.many = hashPairs(), kindsOf(r.enc), many
	r.windows = newBitset(len(rules) * windowBits)
	for _, rule := range rules {
		r.windows.add(windowHash([]byte(rule.From)))
	}
	size := max(len(rules)*gramBits, minGramBits, min(len(rules)*gramBitsWanted, maxGramBitsWanted))
	if many {
		r.grams = gramsOfMany(rules, size)
		return
	}
	// Those in one byte a character are needed in any case: the characters of
	// wide grams are looked up as such.
	shapes := shapesOf(r.enc | UTF8)
	r.grams = newGramSet(size, func(s gramSet) {
		for _, rule := range rules {
			for _, shape := range shapes {
				s.addHash(rule.From, shape)
			}
		}
	})
}

// gramsOfMany returns the set for skipMany, which asks it for grams in one byte
// a character only, and seldom for frequent ones.
func gramsOfMany(rules []Rule, size int) gramSet {
	var mu sync.Mutex
	var all bitset
	halves(len(rules), func(lo, hi int) error {
		s := gramSet{newBitset(size), mix1}
		for _, rule := range rules[lo:hi] {
			s.addHash(rule.From, gramShapes[0])
		}
		mu.Lock()
		defer mu.Unlock()
		all = s.bits.union(all)
		return nil
	})
	return gramSet{all, mix1}
}

// Len returns the number of rules, without those given twice.
func (r *Rules) Len() int { return len(r.rules) }

// Rule returns rule i, counted from 0 in the order in which the rules were
// given to Compile.
func (r *Rules) Rule(i int) Rule { return r.rules[i] }
