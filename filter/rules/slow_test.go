package rules

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"narseal/filter/rules/rulestest"
)

// slowCases are rules and text made to be slow together.
func slowCases() (cases []struct {
	name  string
	rules []Rule
	text  string
}) {
	add := func(name, text string, froms ...string) {
		var rules []Rule
		for i, from := range froms {
			rules = append(rules, Rule{from, from[:len(from)-1] + string("01"[i%2])})
		}
		cases = append(cases, struct {
			name  string
			rules []Rule
			text  string
		}{name, rules, text})
	}
	long := strings.Repeat("n", 211)
	var many, shared []string
	for i := range 300 {
		many = append(many, fmt.Sprintf("%s-%03d%s", as, i, long[3:]))
		shared = append(shared, fmt.Sprintf("%s-%s%03d", as, strings.Repeat(as+"-", 6), i))
	}
	a := func(n int) string { return strings.Repeat("a", n) }
	add("hash", a(1<<20), as)
	add("near", a(1<<20), as[1:]+"b")
	add("name", a(1<<20), as+"-x")
	add("long-name", a(1<<20), as+"-"+long)
	add("names", a(1<<20), many...)
	add("names-dash", strings.Repeat(as+"-", 1<<15), many...)
	add("names-shared", strings.Repeat(as+"-", 1<<15), shared...)
	add("period-2", strings.Repeat("ab", 1<<19), strings.Repeat("ab", 16)+"-"+long, strings.Repeat("ba", 16)+"-"+long)
	add("name-other", strings.Repeat(strings.Repeat("ab", 16)+"x", 1<<15), strings.Repeat("ab", 16)+"-"+long, strings.Repeat("ba", 16)+"-"+long)
	return cases
}

func BenchmarkSlow(b *testing.B) {
	for _, c := range slowCases() {
		for enc, data := range map[string][]byte{
			"utf8": []byte(c.text), "utf16le": utf16Bytes(c.text, binary.LittleEndian), "utf16be": utf16Bytes(c.text, binary.BigEndian),
			"utf32le": utf32Bytes(c.text, binary.LittleEndian),
		} {
			b.Run(c.name+"/"+enc, func(b *testing.B) {
				r := compile(b, c.rules, AllEncodings)
				b.SetBytes(int64(len(data)))
				for b.Loop() {
					r.Find(data, true, func(int, int, int) {})
				}
			})
		}
	}
}

func BenchmarkSlowAll(b *testing.B) {
	text := strings.Repeat("a", 1<<20)
	for enc, data := range map[string][]byte{"utf8": []byte(text), "utf16le": utf16Bytes(text, binary.LittleEndian)} {
		b.Run(enc, func(b *testing.B) {
			r := compile(b, []Rule{{as, as}}, AllEncodings)
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				r.FindAll(data, true, func(int, int, int) {})
			}
		})
	}
}

// Text that nearly matches is not much slower than text that matches: names that never come after their hash took 200
// times as long in wide encodings.
func TestSlowRules(t *testing.T) {
	if rulestest.ExhaustiveStep > 1 {
		t.Skip("the race detector has times of its own")
	}
	fastest := func(rules []Rule, data []byte) time.Duration {
		r := compile(t, rules, AllEncodings)
		least := time.Hour
		for range 5 {
			start := time.Now()
			r.Find(data, true, func(int, int, int) {})
			least = min(least, time.Since(start))
		}
		return least
	}
	for _, c := range slowCases() {
		for _, codec := range codecs {
			data := codec.encode(c.text[:1<<17])
			matching := codec.encode(strings.Repeat("a", 1<<17))
			if got, base := fastest(c.rules, data), fastest([]Rule{{as, bs}}, matching); got > 25*base {
				t.Errorf("%s in %s: %v, matches take %v", c.name, codec.name, got, base)
			}
		}
	}
}
