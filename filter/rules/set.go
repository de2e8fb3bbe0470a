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
// An occurrence of a rule is the exact bytes of its From in one of the set's encodings. What stands before and after
// them does not matter: a hash is found inside a longer run of base 32 characters, and a base name is found before any
// character that follows it, as with "s|OLD|NEW|g". (The full stop after a path in a sentence could belong to a name
// too, and the bytes do not say which.)
//
// All rules apply at once, from left to right. Of several overlapping occurrences the first one counts, and of those
// that start at the same place the longest. So a base name takes precedence over its own hash, and over a base name
// that it extends. The search continues after an occurrence, never inside its replacement. Swaps work; chains do not
// cascade.
type Set struct {
	*ruleIndex
	enc Encodings

	grams   gramSet    // of the hash parts, in one byte a character; of few rules, in the other encodings too
	windows bitset     // whole hash parts
	bare    bitset     // those that are a rule without a name; nil: all of them
	pairs   *pairTable // which grams can be part of any hash part
	kinds   gramKind   // those of enc
	many    bool       // search with skipMany
}

// Compile makes a Set that finds rules in the encodings enc. It refuses an empty list, a rule that Parse would refuse,
// and two rules that replace the same thing differently. A rule that is given twice counts once.
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
	manyRules = 200 // more are searched with skipMany

	// Bits of the sets for each rule, at least.
	gramBits   = 320
	windowBits = 32
	// A gram set of few rules gets more, so that almost no sample passes by chance: as much as fits the first-level
	// cache, and at most half of the second-level one.
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

// gramsOfMany returns the set for skipMany, which looks up grams in one byte a character only, and rarely frequent
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

// Len returns the number of rules. A rule that was given twice counts once.
func (r *Set) Len() int { return len(r.rules) }

// Rule returns rule i, counted from 0 in the order of Compile's list.
func (r *Set) Rule(i int) Rule { return r.rules[i] }
