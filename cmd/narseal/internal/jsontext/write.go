package jsontext

import (
	"bufio"
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// A Writer writes JSON values that may contain long texts. The bufio.Writer keeps write errors. Strings that may be
// invalid UTF-8 must be passed through [String] first.
type Writer struct {
	*bufio.Writer
	// Newline begins each line of a value except the first. Two spaces for each level follow it, as in the output of
	// json.MarshalIndent. If Newline is empty, each value is written in one line and HTML is not escaped.
	Newline string

	line bytes.Buffer
	enc  *json.Encoder // to line
}

// A Text is a text in pieces. No piece ends within a character.
type Text interface {
	Pieces(func(piece string))
}

// HasText is a value with one text that may be too long to hold in memory as JSON, such as the path of a deep
// directory. The value has Long in place of the text, before any other string from the input.
type HasText interface {
	LongText() Text // or nil
}

// Long is the placeholder of a long text.
const Long = "\x00"

// encodedLong is Long as JSON.
const encodedLong = `"\u0000"`

// Encode writes a value.
func (w *Writer) Encode(v any) error {
	if w.enc == nil {
		w.enc = json.NewEncoder(&w.line)
		w.enc.SetEscapeHTML(w.Newline != "")
	}
	w.line.Reset()
	if err := w.enc.Encode(v); err != nil {
		return err
	}
	var text Text
	if t, ok := v.(HasText); ok {
		text = t.LongText()
	}
	w.value(Escape(bytes.TrimSuffix(w.line.Bytes(), []byte("\n"))), text)
	return nil
}

// value writes compact JSON with indentation. It is faster than [json.Indent], because it skips over strings.
func (w *Writer) value(src []byte, text Text) {
	depth := 0
	for len(src) > 0 {
		n := 1
		switch c := src[0]; {
		case c == '"':
			n = stringLen(src)
			if text != nil && string(src[:n]) == encodedLong {
				w.text(text)
				text = nil
			} else {
				_, _ = w.Write(src[:n])
			}
		case (c == '{' || c == '[') && src[1] == c+2: // it is empty
			n = 2
			_, _ = w.Write(src[:n])
		case c == '{' || c == '[':
			depth++
			_ = w.WriteByte(c)
			w.breakLine(depth)
		case c == '}' || c == ']':
			depth--
			w.breakLine(depth)
			_ = w.WriteByte(c)
		case c == ',':
			_ = w.WriteByte(c)
			w.breakLine(depth)
		case c == ':' && w.Newline != "":
			_, _ = w.WriteString(": ")
		default:
			_ = w.WriteByte(c)
		}
		src = src[n:]
	}
}

func (w *Writer) breakLine(depth int) {
	if w.Newline == "" {
		return
	}
	_, _ = w.WriteString(w.Newline)
	for range depth {
		_, _ = w.WriteString("  ")
	}
}

// stringLen returns the length of the JSON string at the start of src, with its quotes.
func stringLen(src []byte) int {
	for i := 1; ; {
		i += bytes.IndexByte(src[i:], '"')
		k := i
		for src[k-1] == '\\' {
			k--
		}
		i++
		if (i-k)%2 == 1 {
			return i
		}
	}
}

// text writes a text as a JSON string.
func (w *Writer) text(t Text) {
	_ = w.WriteByte('"')
	t.Pieces(func(piece string) {
		for len(piece) > 0 {
			n := verbatim(piece)
			_, _ = w.WriteString(piece[:n])
			if piece = piece[n:]; piece != "" {
				piece = w.special(piece)
			}
		}
	})
	_ = w.WriteByte('"')
}

// verbatim returns the length of the ASCII at the start of s that is the same in JSON.
func verbatim(s string) int {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return i
		}
	}
	return len(s)
}

// special writes the first character of s, which is not verbatim, and returns the rest.
func (w *Writer) special(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	b := w.AvailableBuffer()
	switch {
	case r == utf8.RuneError && n == 1:
		b = append(utf8.AppendRune(b, r), hexDigits[s[0]>>4], hexDigits[s[0]&15])
	case r == utf8.RuneError:
		b = utf8.AppendRune(utf8.AppendRune(b, r), r)
	case r == '"' || r == '\\':
		b = append(b, '\\', s[0])
	case r < ' ' && shortEscapes[r] != 0:
		b = append(b, '\\', shortEscapes[r])
	case (r == '<' || r == '>' || r == '&') && w.Newline == "":
		b = append(b, s[0]) // NewEncoder, unlike json.Marshal, keeps them
	case r < ' ' || r == '<' || r == '>' || r == '&' || mustEscape(r):
		b = appendRune(b, r)
	default:
		b = utf8.AppendRune(b, r)
	}
	_, _ = w.Write(b)
	return s[n:]
}

// shortEscapes are the letters of the escapes that encoding/json uses for control characters.
var shortEscapes = [' ']byte{'\b': 'b', '\f': 'f', '\n': 'n', '\r': 'r', '\t': 't'}
