package filter

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"unicode/utf16"
)

// codec is one of the five ways to write a character.
type codec struct {
	name   string
	enc    Encodings
	encode func(s string) []byte
}

var codecs = []codec{
	{"utf8", UTF8, func(s string) []byte { return []byte(s) }},
	{"utf16le", UTF16, func(s string) []byte { return utf16Bytes(s, binary.LittleEndian) }},
	{"utf16be", UTF16, func(s string) []byte { return utf16Bytes(s, binary.BigEndian) }},
	{"utf32le", UTF32, func(s string) []byte { return utf32Bytes(s, binary.LittleEndian) }},
	{"utf32be", UTF32, func(s string) []byte { return utf32Bytes(s, binary.BigEndian) }},
}

func utf16Bytes(s string, order binary.AppendByteOrder) (b []byte) {
	for _, u := range utf16.Encode([]rune(s)) {
		b = order.AppendUint16(b, u)
	}
	return b
}

func utf32Bytes(s string, order binary.AppendByteOrder) (b []byte) {
	for _, c := range s {
		b = order.AppendUint32(b, uint32(c))
	}
	return b
}

// occurrence is what replace reports.
type occurrence struct{ off, n, rule int }

// oracle is the plainest statement of what replacing means: at each place, from
// left to right, try every rule in every encoding and take the longest.
func oracle(rules []Rule, enc Encodings, in []byte) (out []byte, found []occurrence) {
	type form struct {
		from, to []byte
		rule     int
	}
	var forms []form
	for i, rule := range rules {
		for _, c := range codecs {
			if enc&c.enc != 0 {
				forms = append(forms, form{c.encode(rule.From), c.encode(rule.To), i})
			}
		}
	}
	for at := 0; at < len(in); {
		var best *form
		for i, f := range forms {
			if bytes.HasPrefix(in[at:], f.from) && (best == nil || len(f.from) > len(best.from)) {
				best = &forms[i]
			}
		}
		if best == nil {
			out = append(out, in[at])
			at++
			continue
		}
		out = append(out, best.to...)
		found = append(found, occurrence{at, len(best.from), best.rule})
		at += len(best.from)
	}
	return out, found
}

// stream runs replace as a pipeline does: it reads chunks of the sizes that
// chunk gives into a buffer, behind what was left to be presented again.
func stream(t testing.TB, r *Rules, in []byte, chunk func() int) (out []byte, found []occurrence) {
	t.Helper()
	var buf []byte
	base := 0 // offset of buf in in
	for read := 0; ; {
		n := min(chunk(), len(in)-read)
		buf = append(buf, in[read:read+n]...)
		read += n
		final := read == len(in)
		settled := r.replace(buf, final, func(off, n, rule int) {
			found = append(found, occurrence{base + off, n, rule})
		})
		if final && settled != len(buf) {
			t.Fatalf("replace settled %d of %d final bytes", settled, len(buf))
		}
		if hold := len(buf) - settled; hold < 0 || hold > r.maxHold() {
			t.Fatalf("replace left %d of %d bytes, want 0 to %d", hold, len(buf), r.maxHold())
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

func compile(t testing.TB, rules []Rule, enc Encodings) *Rules {
	t.Helper()
	r, err := Compile(rules, enc)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// compileBoth compiles rules for both ways to search.
func compileBoth(t testing.TB, rules []Rule, enc Encodings) [2]*Rules {
	t.Helper()
	few, many := compile(t, rules, enc), compile(t, rules, enc)
	few.fillSets(few.rules, false)
	many.fillSets(many.rules, true)
	return [2]*Rules{few, many}
}

// check compares what r makes of in, read in chunks, with the oracle.
func check(t testing.TB, r *Rules, in []byte, chunk func() int) {
	t.Helper()
	want, wantFound := oracle(r.rules, r.enc, in)
	compare(t, r, in, chunk, want, wantFound)
}

func compare(t testing.TB, r *Rules, in []byte, chunk func() int, want []byte, wantFound []occurrence) {
	t.Helper()
	got, found := stream(t, r, in, chunk)
	if !bytes.Equal(got, want) {
		t.Fatalf("rewrote\n%q to\n%q, want\n%q", in, got, want)
	}
	if fmt.Sprint(found) != fmt.Sprint(wantFound) {
		t.Fatalf("in %q found %v, want %v", in, found, wantFound)
	}
}
