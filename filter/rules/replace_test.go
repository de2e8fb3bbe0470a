package rules

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"narseal/filter/rules/rulestest"
	"narseal/nar/storepath"
)

// meanings say what replacing means, written out by hand. Rules, in and out
// are templates for expand.
var meanings = []struct {
	name    string
	rules   string
	in, out string
}{
	{"nothing", "{A}={B}", "no hash here", "no hash here"},
	{"empty", "{A}={B}", "", ""},
	{"alone", "{A}={B}", "{A}", "{B}"},
	{"start and end", "{A}={B}", "{A}-x {A}", "{B}-x {B}"},
	{"one character short", "{A}={B}", "x" + hashA[:31], "x" + hashA[:31]},
	{"one character wrong", "{A}={B}", hashA[:31] + "9" + hashA[1:], hashA[:31] + "9" + hashA[1:]},
	{"upper case", "{A}={B}", strings.ToUpper(hashA), strings.ToUpper(hashA)},
	{"adjacent", "{A}={B}", "{A}{A}{A}", "{B}{B}{B}"},
	{"swap", "{A}={B} {B}={A}", "{A}{B} {B}{A}", "{B}{A} {A}{B}"},
	{"chain", "{A}={B} {B}={C} {C}={D}", "{A}{B}{C}", "{B}{C}{D}"},
	{"chain backwards", "{C}={D} {B}={C} {A}={B}", "{A}{B}{C}", "{B}{C}{D}"},
	{"inside a longer run", "{A}={B}", "0123z{A}0123", "0123z{B}0123"},
	{"output begins a hash", "{A}={bs} " + bs[1:] + "c={D}", "{A}c", "{bs}c"},
	{"output ends a hash", "{A}={bs} c" + bs[1:] + "={D}", "c{A}", "c{bs}"},
	{"overlap takes the left", "{as}={bs}", "c{as}aaaaaaaa", "c{bs}aaaaaaaa"},
	{"overlap takes the left twice", "{as}={bs}", "{as}{as}aaaaaa", "{bs}{bs}aaaaaa"},
	{"overlap of two", "{A}={B} " + hashA[16:] + hashB[:16] + "={C}", hashA + hashB[:16], hashB + hashB[:16]},
	{"name", "{A}-foo={B}-bar", "/{A}-foo/ {A} {A}-fo {A}-goo", "/{B}-bar/ {A} {A}-fo {A}-goo"},
	{"name before its hash", "{A}={C} {A}-foo={B}-bar", "{A}-foo {A} {A}-fo {A}-", "{B}-bar {C} {C}-fo {C}-"},
	{"longer name first", "{A}-foo={B}-bar {A}-foo-1.2={C}-baz-3.4", "{A}-foo-1.2 {A}-foo-1.", "{C}-baz-3.4 {B}-bar-1."},
	{"name before more", "{A}-foo={B}-bar", "{A}-foobar {A}-foo. {A}-foo-2", "{B}-barbar {B}-bar. {B}-bar-2"},
	{"names that fork", "{A}-ab={B}-AB {A}-abd={C}-ABD {A}-abcde={D}-ABCDE", "{A}-abcdf {A}-abde {A}-aa", "{B}-ABcdf {C}-ABDe {A}-aa"},
	{"name holds a hash", "{A}-{B}={C}-{D} {B}={A}", "{A}-{B}{B}", "{C}-{D}{A}"},
	{"name that holds its hash", "{A}-{A}={B}-{C} {A}={D}", "{A}-{A}-{A}-{A}x", "{B}-{C}-{B}-{C}x"},
	{"same hash, other name", "{A}-foo={A}-bar", "{A}-foo", "{A}-bar"},
	{"equal names", "{A}-foo={B}-foo", "{A}-bar", "{B}-bar"},
	{"to itself", "{A}={A} {B}={C}", "{A}{B}", "{A}{C}"},
}

func parse(t testing.TB, rules string) (parsed []Rule) {
	t.Helper()
	for _, s := range strings.Fields(expand(rules)) {
		rule, err := Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, rule)
	}
	return parsed
}

// The oracle is held to the same hand-written results as the replacer.
func TestMeanings(t *testing.T) {
	for _, test := range meanings {
		t.Run(test.name, func(t *testing.T) {
			rules := parse(t, test.rules)
			for i := range 2 * len(codecs) {
				r, c := compileBoth(t, rules, AllEncodings)[i%2], codecs[i/2]
				in, want := c.encode(expand(test.in)), c.encode(expand(test.out))
				if got, _ := oracle(rules, AllEncodings, in); !bytes.Equal(got, want) {
					t.Fatalf("%s: oracle rewrote %q to %q, want %q", c.name, in, got, want)
				}
				for size := 1; size <= len(in)+1; size++ {
					if got, _ := stream(t, r, in, sized(size)); !bytes.Equal(got, want) {
						t.Fatalf("%s, %d bytes at a time: rewrote %q to %q, want %q", c.name, size, in, got, want)
					}
				}
			}
		})
	}
}

// Every encoding, chunk size, offset of the match and distance between two.
func TestReplaceEveryBoundary(t *testing.T) {
	hash := compileBoth(t, parse(t, "{A}={B}"), AllEncodings)
	name := compileBoth(t, parse(t, "{A}={B} {A}-a-name-longer-than-hashes-are-made={C}-b-name-longer-than-hashes-are-made"), AllEncodings)
	fill := []byte{'x', 0, 'a', 0, 0, 0, '-', 0xff}
	for _, c := range codecs {
		for _, r := range []*Set{hash[0], hash[1], name[0], name[1]} {
			match := c.encode(r.Rule(r.Len() - 1).From)
			for offset := range blockLen + 4 {
				if offset%rulestest.ExhaustiveStep != 0 {
					continue
				}
				var in []byte
				for i := range offset {
					in = append(in, fill[(i+offset)%len(fill)])
				}
				in = append(in, match...)
				in = append(in, fill[:offset%len(fill)]...)
				in = append(in, match...)
				want, found := oracle(r.rules, r.enc, in)
				if len(found) != 2 {
					t.Fatalf("oracle found %v in %q", found, in)
				}
				for size := 1; size <= len(in); size++ {
					compare(t, r, in, sized(size), want, found)
				}
			}
		}
	}
}

// A match cut off at either end is none.
func TestReplacePartialMatch(t *testing.T) {
	both := compileBoth(t, parse(t, "{A}={B} {A}-foo={B}-bar"), AllEncodings)
	for _, c := range codecs {
		match := c.encode(hashA + "-foo")
		for i := range match {
			r := both[i%2]
			check(t, r, match[i:], whole)
			check(t, r, match[:i], whole)
			check(t, r, append(bytes.Clone(match[:i]), match...), whole)
			check(t, r, append(bytes.Clone(match), match[i:]...), whole)
		}
	}
}

// Matches in different encodings that share bytes.
func TestReplaceEncodingsOverlap(t *testing.T) {
	both := compileBoth(t, parse(t, "{as}={bs} {A}={B}"), AllEncodings)
	for _, c := range codecs {
		for _, d := range codecs {
			for _, hash := range []string{hashA, as} {
				first, second := c.encode(hash), d.encode(as)
				for share := range 8 {
					for pad := range 4 {
						r := both[pad%2]
						in := append(make([]byte, pad), first[:len(first)-share]...)
						in = append(in, second...)
						in = append(in, make([]byte, pad)...)
						check(t, r, in, whole)
						check(t, r, in, sized(1))
					}
				}
			}
		}
	}
}

// Only the encodings that were asked for.
func TestReplaceEncodingsSubset(t *testing.T) {
	rules := parse(t, "{A}={B}")
	for enc := Encodings(1); enc <= AllEncodings; enc++ {
		for i := range 2 * len(codecs) {
			r, c := compileBoth(t, rules, enc)[i%2], codecs[i/2]
			in := c.encode("see " + hashA + "!")
			check(t, r, in, whole)
			changed := false
			r.Replace(in, true, func(int, int, int) { changed = true })
			if want := enc&c.enc != 0; changed != want {
				t.Errorf("encodings %s: %s replaced: %t, want %t", enc, c.name, changed, want)
			}
		}
	}
}

func randomHash(rng *rand.Rand) string {
	var b [hashLen]byte
	for i := range b {
		b[i] = storepath.HashAlphabet[rng.IntN(len(storepath.HashAlphabet))]
	}
	return string(b[:])
}

func randomRules(rng *rand.Rand, n int) []Rule {
	rules := make([]Rule, n)
	for i := range rules {
		rules[i] = Rule{randomHash(rng), randomHash(rng)}
	}
	return rules
}

// 100,000 rules, each of which must be found, and nothing else.
func TestReplaceManyRules(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	rules := randomRules(rng, 100_000)
	r := compile(t, rules, AllEncodings)
	if r.Len() != len(rules) {
		t.Fatalf("compiled %d rules, want %d", r.Len(), len(rules))
	}
	var in, want []byte
	for _, i := range rng.Perm(len(rules)) {
		c := codecs[rng.IntN(len(codecs))]
		gap := []byte(randomHash(rng)[:rng.IntN(hashLen)] + "\n")
		in = append(append(in, gap...), c.encode(rules[i].From)...)
		want = append(append(want, gap...), c.encode(rules[i].To)...)
	}
	got, found := stream(t, r, in, func() int { return 1 + rng.IntN(100_000) })
	if !bytes.Equal(got, want) {
		t.Error("output differs")
	}
	if len(found) != len(rules) {
		t.Errorf("found %d occurrences, want %d", len(found), len(rules))
	}
}

// Hashes in and behind text that could all be hash parts, which is searched in
// another way, at every place that blocks and windows give them.
func TestReplaceInDenseText(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	text := func(n int) (b []byte) {
		for len(b) < n {
			b = append(b, randomHash(rng)...)
		}
		return b[:n]
	}
	both := compileBoth(t, randomRules(rng, 300), AllEncodings)
	for n := range 2000 {
		rule := both[0].Rule(rng.IntN(both[0].Len()))
		c := codecs[n%len(codecs)]
		in := text(n)
		in = append(in, make([]byte, rng.IntN(3))...)
		in = append(in, c.encode(rule.From)...)
		in = append(in, text(rng.IntN(200))...)
		for _, r := range both {
			_, got := stream(t, r, in, whole)
			if len(got) != 1 || r.Rule(got[0].Rule) != rule {
				t.Fatalf("%d characters before %s in %s: found %v, want it", n, rule.From, c.name, got)
			}
		}
	}
}

// Long runs of text that nearly matches, in all encodings, with matches in and between them.
func TestReplaceInNearMisses(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	ab := strings.Repeat("ab", 16)
	both := compileBoth(t, []Rule{{as + "-x", bs + "-y"}, {ab, bs}, {hashA, hashB}, {hashC + "-long-name", hashD + "-other-one"}}, AllEncodings)
	pieces := []string{"a", "a", "ab", "a" + ab[:31], as + "-", as + "-x", ab, hashA, hashA[1:], hashC + "-long-nam", hashC + "-long-name", hashC, "-", "é"}
	for range 100 {
		var in []byte
		for range 1 + rng.IntN(5) {
			c := codecs[rng.IntN(len(codecs))]
			var text strings.Builder
			for range 1 + rng.IntN(3) {
				text.WriteString(strings.Repeat(pieces[rng.IntN(len(pieces))], 1+rng.IntN(3)*rng.IntN(300)))
			}
			in = append(in, c.encode(text.String())...)
			in = append(in, make([]byte, rng.IntN(4))...)
		}
		for _, r := range both {
			check(t, r, in, whole)
			check(t, r, in, func() int { return 1 + rng.IntN(3000) })
		}
	}
}

// A match at every place around the end of what wide text is searched in at once, behind text that nearly matches.
func TestReplaceAfterWideRun(t *testing.T) {
	for _, r := range compileBoth(t, []Rule{{as + "-x", bs + "-y"}}, AllEncodings) {
		for _, c := range codecs {
			for n := wideRun - 40; n < wideRun+2*hashLen; n++ {
				for lead := range sampleStep {
					in := append(make([]byte, lead, lead+4*n), c.encode(strings.Repeat("a", n)+"-x")...)
					want := lead + len(in[lead:])/(n+2)*(n-hashLen)
					if m, ok := r.next(in, 0); !ok || m.off+m.width-1 < want || m.off > want { // a zero byte before it may belong to it
						t.Fatalf("%s, %d characters after %d bytes: got %+v, %v, want a match at %d", c.name, n, lead, m, ok, want)
					}
				}
			}
		}
	}
}

// 10,000 names of one hash part, each a prefix of others.
func TestReplaceManyNames(t *testing.T) {
	var rules []Rule
	for i := range 100 {
		for n := range 100 {
			rules = append(rules, Rule{
				From: fmt.Sprintf("%s-f%02d%s", hashA, i, strings.Repeat("n", n)),
				To:   fmt.Sprintf("%s-t%02d%s", hashB, i, strings.Repeat("m", n)),
			})
		}
	}
	r := compile(t, rules[1:], UTF8) // a family without its shortest
	ns, ms := strings.Repeat("n", 200), strings.Repeat("m", 99)
	in := expand("{A}-f00 {A}-f00n {A}-f07nnnn- {A}-f99" + ns + "{A}-f9")
	want := expand("{A}-f00 {B}-t00m {B}-t07mmmm- {B}-t99" + ms + ns[99:] + "{A}-f9")
	if got, _ := stream(t, r, []byte(in), whole); string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Find reports what replace does, and changes nothing.
func TestFind(t *testing.T) {
	r := compile(t, parse(t, "{A}={B} {B}-x={C}-y"), AllEncodings)
	in := []byte(expand("{A} {B} {B}-x {A}") + string(codecs[1].encode(hashA)))
	before := bytes.Clone(in)
	_, want := oracle(r.rules, r.enc, in)
	var got []occurrence
	settled := r.Find(in, true, func(off, n, rule int) { got = append(got, occurrence{Off: off, N: n, Rule: rule}) })
	if settled != len(in) || fmt.Sprint(got) != fmt.Sprint(want) || len(got) != 4 {
		t.Errorf("settled %d of %d, found %v, want %v", settled, len(in), got, want)
	}
	if !bytes.Equal(in, before) {
		t.Error("Find changed what it searched")
	}
}

// Rules and data made of few characters, so that occurrences overlap, nearly
// occur, and meet across encodings.
func FuzzReplace(f *testing.F) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 7))
		script := make([]byte, rng.IntN(60))
		for i := range script {
			script[i] = byte(rng.Uint32())
		}
		f.Add(seed, script)
	}
	f.Fuzz(func(t *testing.T, seed uint64, script []byte) {
		if len(script) > 200 {
			t.Skip("the oracle is slow")
		}
		rng := rand.New(rand.NewPCG(seed, 8))
		rules := similarRules(rng)
		enc := Encodings(1 + rng.IntN(int(AllEncodings)))
		var in []byte
		for _, b := range script {
			from := rules[rng.IntN(len(rules))].From
			c := codecs[rng.IntN(len(codecs))]
			switch b % 8 {
			case 0:
				in = append(in, b)
			case 1:
				in = append(in, make([]byte, b>>3%5)...)
			case 2:
				in = append(in, c.encode(from[rng.IntN(len(from)):])...)
			case 3:
				in = append(in, c.encode(from[:rng.IntN(len(from))])...)
			case 4: // short of some bytes, not characters
				in = append(in, c.encode(from)[int(b>>3)%4:]...)
			default:
				in = append(in, c.encode(from)...)
			}
		}
		for _, r := range compileBoth(t, rules, enc) {
			check(t, r, in, whole)
			check(t, r, in, func() int { return 1 + rng.IntN(1+rng.IntN(len(in)+1)) })
			checkAll(t, r, in, whole)
		}
	})
}

// similarRules returns rules that do not contradict each other.
func similarRules(rng *rand.Rand) []Rule {
	alphabet := storepath.HashAlphabet[:1+rng.IntN(3)]
	targets := map[string]string{}
	for range 1 + rng.IntN(8) {
		hash := make([]byte, hashLen)
		for i := range hash {
			hash[i] = alphabet[rng.IntN(len(alphabet))]
		}
		targets[string(hash)] = randomHash(rng)
		for range rng.IntN(4) {
			name := "-x" + strings.Repeat("0", rng.IntN(4)) + strings.Repeat("-"+string(hash), rng.IntN(2))
			targets[string(hash)+name] = randomHash(rng) + "-y" + name[2:]
		}
	}
	var rules []Rule
	for from, to := range targets {
		rules = append(rules, Rule{from, to})
	}
	slices.SortFunc(rules, func(a, b Rule) int { return strings.Compare(a.From, b.From) })
	return rules
}
