package infoplist

import (
	"bytes"
	"math"
	"regexp"
	"slices"
	"sync"
	"unicode/utf8"
)

// maxNumber bounds the text of a real number or a date, in bytes.
const maxNumber = 1024

// Dates and real numbers as CoreFoundation reads them.
var (
	date       = lazily(`^-?[0-9]+-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$`)
	realNumber = lazily(`^((?i:nan|[+-]?inf|[+-]?infinity)|[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?)$`)
)

func lazily(expression string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}

// leaf reads the rest of a value that is no container.
func (x *reader) leaf(element string, empty bool) error {
	switch element {
	case "dict", "array": // empty
		return nil
	case "string", "key", "true", "false":
		if empty {
			return nil
		}
		if element == "string" || element == "key" {
			if err := x.string(); err != nil {
				return err
			}
		}
		return x.close(element)
	}
	length := bytes.IndexByte(x.text[x.at:], '<')
	if length < 0 || empty {
		return x.problem("an empty <%s>", element)
	}
	if raw := x.text[x.at : x.at+length]; !isValue(element, raw) {
		return x.problem("<%s> has the text %.20q", element, raw)
	}
	x.at += length
	return x.close(element)
}

// isValue reports whether a value may have a text.
func isValue(element string, raw []byte) bool {
	switch element {
	case "data": // CoreFoundation skips what is not base64
		return !slices.ContainsFunc(raw, func(b byte) bool { return b >= utf8.RuneSelf })
	case "date":
		return len(raw) <= maxNumber && date().Match(raw)
	case "real":
		return len(raw) <= maxNumber && realNumber().Match(raw)
	}
	return IsInteger(raw)
}

// string reads text up to an end tag.
func (x *reader) string() error {
	const cdata = "<![CDATA["
	for {
		length := bytes.IndexByte(x.text[x.at:], '<')
		if length < 0 {
			return errEnd
		}
		for raw := x.text[x.at : x.at+length]; ; {
			i := bytes.IndexByte(raw, '&')
			if i < 0 {
				break
			}
			_, n := reference(raw[i:])
			if n == 0 {
				return x.problem("text with the unusual reference %.20q to a character", raw[i:])
			}
			raw = raw[i+n:]
		}
		x.at += length
		if !x.has("<!") {
			return nil
		}
		if !x.has(cdata) {
			return x.problem("a comment in a value")
		}
		x.at += len(cdata)
		if _, err := x.skipTo("]]>"); err != nil {
			return err
		}
	}
}

// reference returns the character to which the reference at the start of text refers, and the length of the reference, or 0.
// Versions of CoreFoundation disagree on long numbers.
func reference(text []byte) (r rune, n int) {
	end := bytes.IndexByte(text[:min(len(text), len("&#x0000000;"))], ';')
	if end < 0 {
		return 0, 0
	}
	switch name := string(text[1:end]); name {
	case "lt":
		return '<', end + 1
	case "gt":
		return '>', end + 1
	case "amp":
		return '&', end + 1
	case "apos":
		return '\'', end + 1
	case "quot":
		return '"', end + 1
	}
	digits, base := text[1:end], rune(10)
	if len(digits) == 0 || digits[0] != '#' {
		return 0, 0
	}
	if digits = digits[1:]; len(digits) > 0 && digits[0] == 'x' {
		digits, base = digits[1:], 16
	}
	for _, b := range digits {
		d := digit(b)
		if d < 0 || d >= base {
			return 0, 0
		}
		r = min(r*base+d, utf8.MaxRune+1)
	}
	if len(digits) == 0 || len(digits) > 7 || !utf8.ValidRune(r) || r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xfffe || r == 0xffff {
		return 0, 0
	}
	return r, end + 1
}

func digit(b byte) rune {
	switch {
	case '0' <= b && b <= '9':
		return rune(b - '0')
	case 'a' <= b && b <= 'f':
		return rune(b-'a') + 10
	case 'A' <= b && b <= 'F':
		return rune(b-'A') + 10
	}
	return -1
}

// appendText appends the text that string has read.
func appendText(text, raw []byte) []byte {
	for len(raw) > 0 {
		i := bytes.IndexAny(raw, "&<")
		if i < 0 {
			break
		}
		text = append(text, raw[:i]...)
		if raw = raw[i:]; raw[0] == '<' {
			inside, after, _ := bytes.Cut(raw[len("<![CDATA["):], []byte("]]>"))
			text, raw = append(text, inside...), after
			continue
		}
		r, n := reference(raw)
		text, raw = utf8.AppendRune(text, r), raw[max(n, 1):]
	}
	return append(text, raw...)
}

// IsInteger reports whether CoreFoundation reads an integer: an unsigned or a signed one of 64 bits, decimal or hexadecimal.
func IsInteger(raw []byte) bool {
	raw = bytes.TrimLeft(raw, spaces)
	negative := bytes.HasPrefix(raw, []byte("-"))
	if negative || bytes.HasPrefix(raw, []byte("+")) {
		raw = bytes.TrimLeft(raw[1:], spaces)
	}
	base := rune(10)
	if bytes.HasPrefix(raw, []byte("0x")) || bytes.HasPrefix(raw, []byte("0X")) {
		raw, base = raw[2:], 16
	}
	limit := uint64(math.MaxUint64)
	if negative {
		limit = 1 << 63
	}
	n := uint64(0)
	for _, b := range raw {
		d := digit(b)
		if d < 0 || d >= base || n > (limit-uint64(d))/uint64(base) {
			return false
		}
		n = n*uint64(base) + uint64(d)
	}
	return len(raw) > 0
}
