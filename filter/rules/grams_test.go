package rules

import (
	"math/rand/v2"
	"testing"

	"narseal/nar/storepath"
)

// The table's answer for whole grams against the definition of each shape.
func TestGramKind(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	pairs := hashPairs()
	seen := map[gramKind]int{}
	for range 200_000 {
		// Characters here and there, zeros elsewhere, and now and then a wrong byte.
		var w uint64
		keep := rng.IntN(256)
		if n := rng.IntN(len(gramShapes)); rng.IntN(4) > 0 {
			keep = 0
			for i := gramShapes[n].first; i < gramLen; i += gramShapes[n].enc.Width() {
				keep |= 1 << i
			}
		}
		for i := range gramLen {
			if keep&(1<<i) != 0 {
				w |= uint64(storepath.HashAlphabet[rng.IntN(len(storepath.HashAlphabet))]) << (8 * i)
			}
		}
		if rng.IntN(4) == 0 {
			w ^= uint64(rng.IntN(256)) << (8 * rng.IntN(8))
		}
		var want gramKind
		for k, shape := range gramShapes {
			fits := true
			for i := range gramLen {
				fits = fits && shape.allows(i, byte(w>>(8*i)))
			}
			if fits {
				want |= 1 << k
			}
		}
		if want&(want-1) != 0 {
			t.Fatalf("gram %#016x has kinds %b, want no more than one", w, want)
		}
		if got := pairs.kind(w); got != want {
			t.Fatalf("gram %#016x has kind %b, want %b", w, got, want)
		}
		if got := pairs.likely(w); got&want != want {
			t.Fatalf("gram %#016x is likely %b, want at least %b", w, got, want)
		}
		seen[want]++
	}
	if len(seen) != len(gramShapes)+1 {
		t.Errorf("saw %v, want each kind and none", seen)
	}
}

// Every gram that a sample of a hash part can have is in the set, and those
// that files are full of are not, whatever the rules.
func TestGramSet(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	for range 200 {
		rules := randomRules(rng, 1+rng.IntN(200))
		r := compile(t, rules, AllEncodings)
		for _, rule := range rules[:1] {
			for _, c := range codecs {
				text := c.encode(rule.From)
				for p := range sampleStep {
					if w := le64(text[p:]); !r.grams.has(w) {
						t.Fatalf("%s: gram %#016x at %d of %q is not in the set", c.name, w, p, rule.From)
					}
				}
			}
			if !r.windows.has(windowHash([]byte(rule.From))) {
				t.Fatalf("%q is not in the set", rule.From)
			}
		}
		for _, w := range frequent {
			if r.grams.has(w) {
				t.Errorf("frequent gram %#016x is in the set", w)
			}
		}
	}
}

// The sets tell most of what was not added from what was.
func TestSetsAreSelective(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 14))
	for _, n := range []int{1, 100, 1000, 20_000} {
		r := compile(t, randomRules(rng, n), AllEncodings)
		grams, windows := 0, 0
		const tries = 10_000
		for range tries {
			hash := []byte(randomHash(rng))
			if r.grams.has(le64(hash)) {
				grams++
			}
			if r.windows.has(windowHash(hash)) {
				windows++
			}
		}
		if grams > tries/8 || windows > tries/16 {
			t.Errorf("%d rules: %d grams and %d hash parts of %d hit, want at most an eighth and a sixteenth", n, grams, windows, tries)
		}
	}
}
