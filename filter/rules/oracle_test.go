package rules

import (
	"bytes"
	"fmt"
	"testing"

	"narseal/filter/rules/rulestest"
)

// codec is a rulestest.Codec.
type codec struct {
	name   string
	enc    Encodings
	encode func(s string) []byte
}

var codecs = func() (all []codec) {
	for _, c := range rulestest.Codecs {
		all = append(all, codec{c.Name, Encodings(c.Width), c.Encode})
	}
	return all
}()

// Short names.
const (
	hashA = rulestest.HashA
	hashB = rulestest.HashB
	hashC = rulestest.HashC
	hashD = rulestest.HashD
)

var (
	as, bs     = rulestest.As, rulestest.Bs
	expand     = rulestest.Expand
	utf16Bytes = rulestest.UTF16
	utf32Bytes = rulestest.UTF32
)

// occurrence is what Replace reports.
type occurrence = rulestest.Occurrence

func oracle(rules []Rule, enc Encodings, in []byte) (out []byte, found []occurrence) {
	return rulestest.Replace(rules, uint8(enc), in)
}

// stream runs replace as a pipeline does: it reads chunks of the sizes that
// chunk gives into a buffer, behind what was left to be presented again.
func stream(t testing.TB, r *Set, in []byte, chunk func() int) (out []byte, found []occurrence) {
	t.Helper()
	var buf []byte
	base := 0 // offset of buf in in
	for read := 0; ; {
		n := min(chunk(), len(in)-read)
		buf = append(buf, in[read:read+n]...)
		read += n
		final := read == len(in)
		settled := r.Replace(buf, final, func(off, n, rule int) {
			found = append(found, occurrence{Off: base + off, N: n, Rule: rule})
		})
		if final && settled != len(buf) {
			t.Fatalf("replace settled %d of %d final bytes", settled, len(buf))
		}
		if hold := len(buf) - settled; hold < 0 || hold > r.MaxLen()-1 {
			t.Fatalf("replace left %d of %d bytes, want 0 to %d", hold, len(buf), r.MaxLen()-1)
		}
		out = append(out, buf[:settled]...)
		if !final && !bytes.Equal(buf[settled:], in[base+settled:read]) {
			t.Fatalf("replace changed bytes that it did not settle, at %d", base+settled)
		}
		buf = append(buf[:0], buf[settled:]...)
		base += settled
		if final {
			return out, found
		}
	}
}

// whole presents all bytes at once.
func whole() int { return 1 << 30 }

func sized(n int) func() int { return func() int { return n } }

func compile(t testing.TB, rules []Rule, enc Encodings) *Set {
	t.Helper()
	r, err := Compile(rules, enc)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// compileBoth compiles rules for both ways to search.
func compileBoth(t testing.TB, rules []Rule, enc Encodings) [2]*Set {
	t.Helper()
	few, many := compile(t, rules, enc), compile(t, rules, enc)
	few.fillSets(few.rules, false)
	many.fillSets(many.rules, true)
	return [2]*Set{few, many}
}

// check compares what r makes of in, read in chunks, with the oracle.
func check(t testing.TB, r *Set, in []byte, chunk func() int) {
	t.Helper()
	want, wantFound := oracle(r.rules, r.enc, in)
	compare(t, r, in, chunk, want, wantFound)
}

func compare(t testing.TB, r *Set, in []byte, chunk func() int, want []byte, wantFound []occurrence) {
	t.Helper()
	got, found := stream(t, r, in, chunk)
	if !bytes.Equal(got, want) {
		t.Fatalf("rewrote\n%q to\n%q, want\n%q", in, got, want)
	}
	if fmt.Sprint(found) != fmt.Sprint(wantFound) {
		t.Fatalf("in %q found %v, want %v", in, found, wantFound)
	}
}
