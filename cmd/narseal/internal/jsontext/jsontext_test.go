package jsontext

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

var texts = []string{
	"", "plain", "ü – “x”", `a\xff`, "a\xff", "a\xfe", "a\xff\xfe", "a\xc3", "a\xc3\xa4", "\ufffd", "\ufffdff", "\ufffd\ufffd",
	"\ufffd\xff", "\xff\ufffd", "\xffff", "\xed\xa0\x80", "\u0085", "\u202e", "\u2066x\u2069", "\u200b", "\u007f", "\U000e0041",
	"<&>", "\u2028", "\x00\n\x1b",
}

// Different texts have different JSON, which is valid and holds no character that a terminal acts on.
func TestTextsStayDifferent(t *testing.T) {
	seen := map[string]string{}
	for _, s := range texts {
		var b bytes.Buffer
		if err := NewEncoder(&b).Encode(String(s)); err != nil {
			t.Fatal(err)
		}
		line := strings.TrimSuffix(b.String(), "\n")
		for _, r := range line {
			if !unicode.IsPrint(r) {
				t.Errorf("%q becomes %q, with %U", s, line, r)
			}
		}
		var back string
		if err := json.Unmarshal([]byte(line), &back); err != nil {
			t.Fatalf("%q becomes %q: %v", s, line, err)
		}
		if before, ok := seen[back]; ok {
			t.Errorf("%q and %q become %s", s, before, line)
		}
		seen[back] = s
		if utf8.ValidString(s) && !strings.Contains(s, "\ufffd") && back != s {
			t.Errorf("%q becomes %q", s, back)
		}
	}
}

func TestString(t *testing.T) {
	for in, want := range map[string]string{
		"a\xffb": "a\ufffdffb", "\xc3": "\ufffdc3", "\ufffd": "\ufffd\ufffd", "plain": "plain",
	} {
		if got := String(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

func TestMarshalIndent(t *testing.T) {
	got, err := MarshalIndent(map[string]string{"a": "x\u009b\U000e0041"})
	if want := "{\n  \"a\": \"x\\u009b\\udb40\\udc41\"\n}"; err != nil || string(got) != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
}

func FuzzString(f *testing.F) {
	for i := range texts {
		f.Add(texts[i], texts[(i+1)%len(texts)])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if !utf8.ValidString(String(a)) {
			t.Errorf("%q becomes %q", a, String(a))
		}
		if (a == b) != (String(a) == String(b)) {
			t.Errorf("%q and %q become %q and %q", a, b, String(a), String(b))
		}
	})
}
