package rules

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"
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

// BenchmarkSlowRules compares text that nearly matches with text that matches: names that never come after their hash
// took 200 times as long in wide encodings. SECURITY.md has the bound.
func BenchmarkSlowRules(b *testing.B) {
	matching := strings.Repeat("a", 1<<17)
	for _, c := range slowCases() {
		for _, codec := range codecs {
			b.Run(c.name+"/"+codec.name, func(b *testing.B) {
				near, base := codec.encode(c.text[:1<<17]), codec.encode(matching)
				slow, fast := compile(b, c.rules, AllEncodings), compile(b, []Rule{{as, bs}}, AllEncodings)
				var took, wanted time.Duration
				for b.Loop() {
					begin := time.Now()
					slow.Find(near, true, func(int, int, int) {})
					middle := time.Now()
					fast.Find(base, true, func(int, int, int) {})
					took, wanted = took+middle.Sub(begin), wanted+time.Since(middle)
				}
				b.ReportMetric(float64(took)/float64(wanted), "times-matching")
			})
		}
	}
}
