package rules

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// A Set is a compiled set of rules. It does not change and is safe for concurrent use.
//
// An occurrence of a rule is the exact bytes of its From in one of the set's encodings. The characters before and after
// it do not matter: a hash is found even inside a longer run of base 32 characters, and a base name is found whatever
// character follows it, as with "s|OLD|NEW|g". (A full stop after a path may end a sentence or belong to a longer name;
// the bytes do not tell which.)
//
// All rules apply in a single pass from left to right. If occurrences overlap, the first one is replaced; if they start
// at the same offset, the longest one. So a base name takes precedence over its own hash, and over a base name that it
// extends. The search continues after an occurrence, never inside its replacement. So two rules can swap hashes, and a
// replacement is never replaced again.
type Set struct {
	*ruleIndex
	enc Encodings

	grams   gramSet    // of the hash parts, with one byte per character; with few rules, in the other encodings, too
	windows bitset     // whole hash parts
	bare    bitset     // hash parts that are a rule without a name; nil: all of them
	pairs   *pairTable // which grams can be part of any hash part
	kinds   gramKind   // the kinds of grams in enc
	many    bool       // search with skipMany
}

// Compile returns a Set that finds rules in the encodings enc. It returns an error for an empty list, for a rule that
// Parse would refuse, and for two rules that replace the same text differently. Duplicate rules count once.
func Compile(rules []Rule, enc Encodings) (*Set, error) {
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
	r := &Set{enc: enc}
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

// without removes the rules with these numbers, which are in ascending order.
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

// halves calls f for both halves of n items, concurrently.
func halves(n int, f func(lo, hi int) error) (errs [2]error) {
	var wg sync.WaitGroup
	wg.Go(func() { errs[1] = f(n/2, n) })
	errs[0] = f(0, n/2)
	wg.Wait()
	return errs
}

const (
	manyRules = 200 // with more rules, skipMany is used

	// Minimum number of bits of the sets for each rule.
	gramBits   = 320
	windowBits = 32
	// A gram set for few rules gets more bits, so that almost no sample passes by chance: enough to fill the
	// first-level cache, but at most half of the second-level one.
	gramBitsWanted    = 16384
	minGramBits       = 1 << 16
	maxGramBitsWanted = 1 << 22
)

// fillSets fills the sets that the search uses, for few or many rules.
func (r *Set) fillSets(rules []Rule, many bool) {
	r.pairs, r.kinds, r.many = hashPairs(), kindsOf(r.enc), many
	r.windows = newBitset(len(rules) * windowBits)
	for _, rule := range rules {
		r.windows.add(windowHash([]byte(rule.From)))
	}
	if slices.ContainsFunc(rules, Rule.named) {
		r.bare = newBitset(len(rules) * windowBits)
		for _, rule := range rules {
			if !rule.named() {
				r.bare.add(windowHash([]byte(rule.From)))
			}
		}
	}
	size := max(len(rules)*gramBits, minGramBits, min(len(rules)*gramBitsWanted, maxGramBitsWanted))
	if many {
		r.grams = gramsOfMany(rules, size)
		return
	}
	// The narrow grams are always needed: wide grams are made narrow before they are looked up.
	shapes := shapesOf(r.enc | UTF8)
	r.grams = newGramSet(size, func(s gramSet) {
		for _, rule := range rules {
			for _, shape := range shapes {
				s.addHash(rule.From, shape)
			}
		}
	})
}

// gramsOfMany returns the set for skipMany, which looks up only grams with one byte per character, and rarely frequent
// ones.
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

// Len returns the number of rules. Duplicates count once.
func (r *Set) Len() int { return len(r.rules) }

// Rule returns rule number i, from 0, in the order of Compile's list without duplicates.
func (r *Set) Rule(i int) Rule { return r.rules[i] }
