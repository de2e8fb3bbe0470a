package rules

import (
	"bytes"
	"fmt"
	"testing"
)

// What others do, for comparison only.

// rewriteEach looks for each rule by bytes.Index.
func rewriteEach(b []byte, rules []Rule) {
	for _, rule := range rules {
		from := []byte(rule.From)
		for at := 0; ; at += len(from) {
			i := bytes.Index(b[at:], from)
			if i < 0 {
				break
			}
			at += i
			copy(b[at:], rule.To)
		}
	}
}

// A rewritingSink works as Nix's RewritingSink (libstore references.cc): it puts
// each chunk behind the tail of the one before, replaces in the whole rule by
// rule, and keeps a new tail.
type rewritingSink struct {
	rules   []Rule
	longest int
	prev    []byte
	next    func([]byte)
}

func (s *rewritingSink) write(data []byte) {
	all := append(append([]byte(nil), s.prev...), data...)
	rewriteEach(all, s.rules)
	keep := min(len(all), s.longest-1)
	s.prev = append(s.prev[:0], all[len(all)-keep:]...)
	s.next(all[:len(all)-keep])
}

func (s *rewritingSink) flush() {
	s.next(s.prev)
	s.prev = nil
}

// The rivals replace what they are meant to, where no rule feeds another.
func TestRivals(t *testing.T) {
	rules := parse(t, "{A}={B} {C}={D}")
	in := []byte(expand("a {A} c {C} {A}{C} {B}"))
	want, _ := oracle(rules, UTF8, in)
	each := bytes.Clone(in)
	rewriteEach(each, rules)
	if !bytes.Equal(each, want) {
		t.Errorf("bytes.Index: got %q, want %q", each, want)
	}
	for size := 1; size <= len(in); size++ {
		var got []byte
		sink := rewritingSink{rules: rules, longest: hashLen, next: func(b []byte) { got = append(got, b...) }}
		for rest := in; len(rest) > 0; rest = rest[min(size, len(rest)):] {
			sink.write(rest[:min(size, len(rest))])
		}
		sink.flush()
		if !bytes.Equal(got, want) {
			t.Errorf("sink, %d bytes at a time: got %q, want %q", size, got, want)
		}
	}
}

func BenchmarkRivals(b *testing.B) {
	for _, in := range benchInputs {
		data := in.make(b)
		for _, n := range []int{1, 10, 100} {
			rules := benchRules(n)
			b.Run(fmt.Sprintf("input=%s/rules=%d/index", in.name, n), func(b *testing.B) {
				benchScan(b, data, func(window []byte, _ bool) int {
					rewriteEach(window, rules)
					return len(window)
				})
			})
			b.Run(fmt.Sprintf("input=%s/rules=%d/sink", in.name, n), func(b *testing.B) {
				sink := rewritingSink{rules: rules, longest: hashLen, next: func([]byte) {}}
				benchScan(b, data, func(window []byte, _ bool) int {
					for at := 0; at < len(window); at += 64 << 10 {
						sink.write(window[at:min(len(window), at+64<<10)])
					}
					return len(window)
				})
			})
		}
	}
}
