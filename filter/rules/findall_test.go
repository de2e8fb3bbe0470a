package rules

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"narseal/filter/rules/rulestest"
)

// checkAll compares FindAll, in windows of the sizes that chunk gives, with the oracle.
func checkAll(t testing.TB, r *Set, in []byte, chunk func() int) {
	t.Helper()
	var found []occurrence
	var buf []byte
	before := bytes.Clone(in)
	for base, read := 0, 0; ; {
		n := min(chunk(), len(in)-read)
		buf = append(buf, in[read:read+n]...)
		read += n
		final := read == len(in)
		settled := r.FindAll(buf, final, func(off, n, rule int) {
			found = append(found, occurrence{Off: base + off, N: n, Rule: rule})
		})
		if left := len(buf) - settled; left < 0 || left >= r.MaxLen() || final && left != 0 {
			t.Fatalf("FindAll left %d of %d bytes, want less than %d", left, len(buf), r.MaxLen())
		}
		buf = append(buf[:0], buf[settled:]...)
		if base += settled; final {
			break
		}
	}
	if want := rulestest.All(r.rules, uint8(r.enc), in); fmt.Sprint(found) != fmt.Sprint(want) {
		t.Fatalf("in %q found %v, want %v", in, found, want)
	}
	if !bytes.Equal(in, before) {
		t.Error("FindAll changed what it searched")
	}
}

// Overlapping occurrences of two rules, in every encoding and at every boundary.
func TestFindAllOverlaps(t *testing.T) {
	first, second := hashA, hashA[1:]+"0"
	rules := []Rule{{first, first}, {second, second}, {first + "-x", first + "-x"}, {as, as}, {as + "-n", bs + "-m"}}
	for _, c := range codecs {
		in := append([]byte("\xff"), c.encode(first+"0 "+first+"-x "+as+"aaa-n"+second)...)
		for _, r := range compileBoth(t, rules, AllEncodings) {
			checkAll(t, r, in, whole)
			for size := 1; size < len(in); size += rulestest.ExhaustiveStep {
				checkAll(t, r, in, sized(size))
			}
		}
	}
}

func TestFindAllRandomly(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	for range 500 {
		rules := similarRules(rng)
		var in []byte
		for range rng.IntN(8) {
			from := rules[rng.IntN(len(rules))].From
			c := codecs[rng.IntN(len(codecs))]
			in = append(in, c.encode(from[rng.IntN(len(from)):])...)
			in = append(in, c.encode(from)...)
			in = append(in, make([]byte, rng.IntN(4))...)
		}
		enc := Encodings(1 + rng.IntN(int(AllEncodings)))
		for _, r := range compileBoth(t, rules, enc) {
			checkAll(t, r, in, whole)
			checkAll(t, r, in, func() int { return 1 + rng.IntN(1+rng.IntN(len(in)+1)) })
		}
	}
}
