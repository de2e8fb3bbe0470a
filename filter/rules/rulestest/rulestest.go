// Package rulestest is a naive implementation of package rules. It is for tests, and does not import rules, so that the
// tests of rules can import it.
package rulestest

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"regexp"
	"slices"
	"strings"
	"unicode/utf16"
)

// Hash parts that share no long affixes.
const (
	HashA = "0c4vw5wc2qsv8wlkllvq8fn8krx6dv4z"
	HashB = "zgmzy8p1b6n3q7wknmkyy4hmc7r0l7xd"
	HashC = "w3c8fjhpapm8bm39kdcqs6hj7ghnj6s6"
	HashD = "5lg06x0hxcp7w0bhbmmhnahk3lxm8vcm"
)

// Hash parts of one character.
var (
	As = strings.Repeat("a", 32)
	Bs = strings.Repeat("b", 32)
)

// Expand inserts the hash parts into a template.
var Expand = strings.NewReplacer("{A}", HashA, "{B}", HashB, "{C}", HashC, "{D}", HashD, "{as}", As, "{bs}", Bs).Replace

// A Codec is one of the five ways to encode a character. Width is both the number of bytes per character and the
// rules.Encodings.
type Codec struct {
	Name   string
	Width  int
	Encode func(s string) []byte
}

// Codecs lists all Codecs.
var Codecs = []Codec{
	{"utf8", 1, func(s string) []byte { return []byte(s) }},
	{"utf16le", 2, func(s string) []byte { return UTF16(s, binary.LittleEndian) }},
	{"utf16be", 2, func(s string) []byte { return UTF16(s, binary.BigEndian) }},
	{"utf32le", 4, func(s string) []byte { return UTF32(s, binary.LittleEndian) }},
	{"utf32be", 4, func(s string) []byte { return UTF32(s, binary.BigEndian) }},
}

// UTF16 encodes s with two bytes per character.
func UTF16(s string, order binary.AppendByteOrder) (b []byte) {
	for _, u := range utf16.Encode([]rune(s)) {
		b = order.AppendUint16(b, u)
	}
	return b
}

// UTF32 encodes s with four bytes per character.
func UTF32(s string, order binary.AppendByteOrder) (b []byte) {
	for _, c := range s {
		b = order.AppendUint32(b, uint32(c))
	}
	return b
}

// An Occurrence is what rules.Set reports.
type Occurrence struct{ Off, N, Rule int }

// Replace defines replacing: at each offset, from left to right, it tries every rule, a pair of From and To, in every
// encoding, and applies the longest match. enc is a rules.Encodings.
func Replace[R ~struct{ From, To string }](rules []R, enc uint8, in []byte) (out []byte, found []Occurrence) {
	type form struct {
		from, to []byte
		rule     int
	}
	var forms []form
	for i, r := range rules {
		rule := struct{ From, To string }(r)
		for _, c := range Codecs {
			if int(enc)&c.Width != 0 {
				forms = append(forms, form{c.Encode(rule.From), c.Encode(rule.To), i})
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
		found = append(found, Occurrence{at, len(best.from), best.rule})
		at += len(best.from)
	}
	return out, found
}

// All returns every occurrence of every rule, sorted by offset, and at the same offset by descending length. enc is a
// rules.Encodings.
func All[R ~struct{ From, To string }](rules []R, enc uint8, in []byte) (found []Occurrence) {
	for i, r := range rules {
		for _, c := range Codecs {
			form := c.Encode(struct{ From, To string }(r).From)
			for at := 0; int(enc)&c.Width != 0 && at+len(form) <= len(in); at++ {
				if bytes.HasPrefix(in[at:], form) {
					found = append(found, Occurrence{at, len(form), i})
				}
			}
		}
	}
	slices.SortFunc(found, func(a, b Occurrence) int { return cmp.Or(cmp.Compare(a.Off, b.Off), cmp.Compare(b.N, a.N)) })
	return found
}

// A StorePath is what rules.ScanStorePaths reports.
type StorePath struct {
	Off  int
	Base string
	Enc  uint8
}

var storePath = regexp.MustCompile(`^/nix/store/([0-9a-df-np-sv-z]{32}-[0-9a-zA-Z+\-._?=]{1,211})`)

// StorePaths tries a regular expression at each offset in each encoding of enc, a rules.Encodings.
func StorePaths(in []byte, enc uint8) (found []StorePath) {
next:
	for at := 0; at < len(in); at++ {
		for _, c := range Codecs {
			var text []byte
			for q := at; q+c.Width <= len(in) && len(text) < 300; q += c.Width {
				char := strings.Trim(string(in[q:q+c.Width]), "\x00")
				if string(c.Encode(char)) != string(in[q:q+c.Width]) {
					break
				}
				text = append(text, char...)
			}
			if m := storePath.FindSubmatch(text); m != nil && int(enc)&c.Width != 0 {
				char := strings.IndexByte(string(in[at:]), '/')
				found = append(found, StorePath{at + char, string(m[1]), uint8(c.Width)})
				at += len(m[0])*c.Width - 1
				continue next
			}
		}
	}
	return found
}
