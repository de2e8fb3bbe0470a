package jsontext

import (
	"bufio"
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// pieces is a Text.
type pieces []string

func (p pieces) Pieces(f func(string)) {
	for _, s := range p {
		f(s)
	}
}

type withText struct {
	First string            `json:"first"`
	Path  string            `json:"path"`
	Map   map[string]any    `json:"map"`
	List  []any             `json:"list"`
	Raw   []json.RawMessage `json:"raw,omitempty"`
	text  Text
}

func (w withText) LongText() Text { return w.text }

// checkWriter compares a Writer with encoding/json and Escape, in lines and indented, with a text built and in pieces.
func checkWriter(t *testing.T, text pieces, other string) {
	t.Helper()
	path := String(strings.Join(text, "/"))
	v := withText{"x", path, map[string]any{String(other): []any{}, "b": map[string]any{}, "c": []any{1.5, String(other), nil, true, []any{[]any{}}}}, []any{}, nil, nil}
	var line bytes.Buffer
	if err := NewEncoder(&line).Encode(v); err != nil {
		t.Fatal(err)
	}
	indented, err := json.MarshalIndent(v, "\t", "  ")
	if err != nil {
		t.Fatal(err)
	}
	var split pieces // with the slashes
	for i, s := range text {
		if i > 0 {
			split = append(split, "/")
		}
		split = append(split, s)
	}
	for newline, want := range map[string][]byte{"": bytes.TrimSuffix(line.Bytes(), []byte("\n")), "\n\t": Escape(indented)} {
		for _, long := range []bool{false, true} {
			var out bytes.Buffer
			w := Writer{Writer: bufio.NewWriterSize(&out, 16), Newline: newline}
			v.Path, v.text = path, nil
			if long {
				v.Path, v.text = Long, split
			}
			if err := w.Encode(v); err != nil {
				t.Fatal(err)
			}
			if err := w.Flush(); err != nil || !bytes.Equal(out.Bytes(), want) {
				t.Errorf("newline %q, long %t, %v:\ngot  %s\nwant %s", newline, long, err, &out, want)
			}
		}
	}
}

func TestWriter(t *testing.T) {
	checkWriter(t, texts, `a"\`)
	for _, s := range texts {
		checkWriter(t, pieces{s, s}, s)
	}
	var all strings.Builder
	for r := range rune(0x3000) {
		all.WriteRune(r)
	}
	checkWriter(t, pieces{all.String()}, all.String())
	checkWriter(t, pieces{""}, "\x00")
	checkWriter(t, pieces{`\`, `\\`, `\"`}, `\\\"`)
}

func FuzzWriter(f *testing.F) {
	for i := range texts {
		f.Add(texts[i], texts[(i+1)%len(texts)], texts[(i+2)%len(texts)])
	}
	f.Fuzz(func(t *testing.T, a, b, c string) { checkWriter(t, pieces{a, b}, c) })
}
