// Package jsontext encodes text with arbitrary bytes, such as a path, as JSON. The output is safe for terminals, and
// different texts stay different.
package jsontext

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// String returns s as valid UTF-8 for a JSON string. It replaces each byte that is not part of valid UTF-8 with U+FFFD
// and two hexadecimal digits, and doubles U+FFFD itself, so that different strings stay different. (encoding/json
// writes one U+FFFD for every such byte.)
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
			b.WriteRune(utf8.RuneError)
			b.WriteByte(hexDigits[s[i]>>4])
			b.WriteByte(hexDigits[s[i]&15])
		default:
			b.WriteRune(utf8.RuneError)
			b.WriteRune(utf8.RuneError)
		}
	}
	return b.String()
}

// Escape returns the JSON text src with every unprintable character escaped: control characters, characters that change
// the direction of text, and invisible ones. If there are none, it returns src itself.
func Escape(src []byte) []byte {
	i := plain(src)
	for i < len(src) {
		r, w := utf8.DecodeRune(src[i:])
		if mustEscape(r) {
			break
		}
		i += w
	}
	if i == len(src) {
		return src
	}
	dst := bytes.Clone(src[:i])
	for len(src) > i {
		r, w := utf8.DecodeRune(src[i:])
		switch {
		case !mustEscape(r):
			dst = append(dst, src[i:i+w]...)
		default:
			dst = appendRune(dst, r)
		}
		i += w
	}
	return dst
}

// appendRune appends the escape of a character.
func appendRune(dst []byte, r rune) []byte {
	if r > 0xffff {
		high, low := utf16.EncodeRune(r)
		return appendEscape(appendEscape(dst, high), low)
	}
	return appendEscape(dst, r)
}

const hexDigits = "0123456789abcdef"

// appendEscape appends the escape of a UTF-16 code unit.
func appendEscape(dst []byte, r rune) []byte {
	return append(dst, '\\', 'u', hexDigits[r>>12], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}

// plain returns the number of bytes at the start of src, in multiples of 8, that Escape certainly keeps: ASCII other
// than DEL. Long paths usually consist of nothing else.
func plain(src []byte) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	n := 0
	for ; len(src)-n >= 8; n += 8 {
		if v := binary.LittleEndian.Uint64(src[n:]); (v|(v+ones))&highs != 0 {
			break
		}
	}
	return n
}

// mustEscape reports whether r, which is DEL or not ASCII, is unprintable. Other ASCII characters are part of the
// syntax or already escaped by encoding/json.
func mustEscape(r rune) bool { return r >= 0x7f && !unicode.IsPrint(r) }

// NewEncoder returns an encoder that writes one value per line. Strings that may be invalid UTF-8 must be passed
// through [String] first.
func NewEncoder(w io.Writer) *json.Encoder {
	e := json.NewEncoder(escapeWriter{w})
	e.SetEscapeHTML(false)
	return e
}

// escapeWriter escapes the output of an encoder. Each write must be a whole value.
type escapeWriter struct{ w io.Writer }

func (e escapeWriter) Write(p []byte) (int, error) {
	if _, err := e.w.Write(Escape(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// MarshalIndent calls [json.MarshalIndent] with an indent of two spaces, and escapes the result like NewEncoder.
func MarshalIndent(v any) ([]byte, error) {
	b, err := json.MarshalIndent(v, "", "  ")
	return Escape(b), err
}
