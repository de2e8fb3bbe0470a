// Package jsontext encodes text with arbitrary bytes, such as a path, as JSON. The output is safe for terminals, and
// different texts stay different.
package jsontext

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// String returns s as valid UTF-8 for a JSON string: s itself, with each byte that is not part of valid UTF-8 as
// U+FFFD and two hexadecimal digits. U+FFFD itself is doubled, so that different strings stay different.
// (encoding/json writes one U+FFFD for every such byte.)
func String(s string) string {
	if !strings.ContainsRune(s, utf8.RuneError) { // which is also what an invalid byte decodes to
		return s
	}
	var b strings.Builder
	for i, w := 0, 0; i < len(s); i += w {
		var r rune
		r, w = utf8.DecodeRuneInString(s[i:])
		switch {
		case r != utf8.RuneError:
			b.WriteString(s[i : i+w])
		case w == 1:
			fmt.Fprintf(&b, "%c%02x", utf8.RuneError, s[i])
		default:
			b.WriteRune(utf8.RuneError)
			b.WriteRune(utf8.RuneError)
		}
	}
	return b.String()
}

// Escape returns JSON with every character in it that cannot be printed as an escape: control characters, those that
// change the direction of text, and those that are invisible. It returns src if there is none.
func Escape(src []byte) []byte {
	i := bytes.IndexFunc(src, mustEscape)
	if i < 0 {
		return src
	}
	dst := bytes.Clone(src[:i])
	for len(src) > i {
		r, w := utf8.DecodeRune(src[i:])
		switch {
		case !mustEscape(r):
			dst = append(dst, src[i:i+w]...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			dst = fmt.Appendf(dst, `\u%04x\u%04x`, high, low)
		default:
			dst = fmt.Appendf(dst, `\u%04x`, r)
		}
		i += w
	}
	return dst
}

// mustEscape reports whether a character outside of ASCII, or DEL, cannot be printed. Others are part of the syntax,
// or encoding/json has escaped them.
func mustEscape(r rune) bool { return r >= 0x7f && !unicode.IsPrint(r) }

// NewEncoder returns an encoder of one value per line. Strings in the values that may be invalid must have been passed
// through [String].
func NewEncoder(w io.Writer) *json.Encoder {
	e := json.NewEncoder(escapeWriter{w})
	e.SetEscapeHTML(false)
	return e
}

// escapeWriter escapes what an encoder writes, which is a whole value at a time.
type escapeWriter struct{ w io.Writer }

func (e escapeWriter) Write(p []byte) (int, error) {
	if _, err := e.w.Write(Escape(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// MarshalIndent is [json.MarshalIndent] with an indent of two blanks, and escapes as NewEncoder does.
func MarshalIndent(v any) ([]byte, error) {
	b, err := json.MarshalIndent(v, "", "  ")
	return Escape(b), err
}
