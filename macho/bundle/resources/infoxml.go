package resources

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// infoXML reads an Info.plist in XML as CoreFoundation does (CFPropertyList.c), without decoding it: people write these
// files, and may write them large. What that parser refuses is an error, and also what its versions, or other parsers, may
// read differently.
type infoXML struct {
	text  []byte
	at    int
	stack []byte // a containerKind for each open container
}

const (
	expectKey byte = iota // a dictionary
	expectValue
	expectItem // an array
)

// maxInfoLevels bounds how deep the values of an Info.plist may be nested. CoreFoundation's bound is higher.
const maxInfoLevels = 512

// maxNumber bounds the text of a real number or a date, in bytes.
const maxNumber = 1024

func (x *infoXML) problem(format string, args ...any) error {
	return fmt.Errorf("offset %d: %s", x.at, fmt.Sprintf(format, args...))
}

var errInfoEnd = errors.New("it ends too early")

// skipTo moves past the next end, and returns what precedes it.
func (x *infoXML) skipTo(end string) ([]byte, error) {
	length := bytes.Index(x.text[x.at:], []byte(end))
	if length < 0 {
		return nil, errInfoEnd
	}
	skipped := x.text[x.at : x.at+length]
	x.at += length + len(end)
	return skipped, nil
}

func (x *infoXML) has(prefix string) bool { return bytes.HasPrefix(x.text[x.at:], []byte(prefix)) }

func (x *infoXML) spaces() {
	for x.at < len(x.text) {
		switch x.text[x.at] {
		case ' ', '\t', '\r', '\n':
			x.at++
		default:
			return
		}
	}
}

// open reads the next start tag. end reports that an end tag comes instead, which close reads. Comments and, in the
// prolog, declarations may come before it.
func (x *infoXML) open(prolog bool) (element string, empty, end bool, err error) {
	doctype := false
	for err == nil {
		x.spaces()
		switch {
		case x.has("<!--"):
			x.at += len("<!--")
			// CoreFoundation disagrees with others on where these begin.
			if x.has(">") || x.has("->") || prolog && x.has("-->") {
				return "", false, false, x.problem("an unusual comment")
			}
			_, err = x.skipTo("-->")
		case prolog && x.has("<?"):
			_, err = x.skipTo("?>")
		case prolog && !doctype && x.has("<!DOCTYPE"):
			doctype = true
			x.at += len("<!DOCTYPE")
			var raw []byte
			if raw, err = x.skipTo(">"); err == nil && (bytes.ContainsAny(raw, "<[") || !quoted(raw)) {
				err = x.problem("an unusual declaration")
			}
		case x.has("</"):
			return "", false, true, nil
		case x.has("<"):
			x.at++
			element, empty, err = x.tag()
			return element, empty, false, err
		default:
			err = x.problem("want a tag")
		}
	}
	return "", false, false, err
}

// quoted reports whether quotes in a tag, which CoreFoundation ends at the first >, whether quoted or not, are complete.
func quoted(tag []byte) bool {
	return bytes.Count(tag, []byte(`"`))%2 == 0 && bytes.Count(tag, []byte("'"))%2 == 0
}

// tag reads the rest of a start tag. Its attributes do not matter.
func (x *infoXML) tag() (element string, empty bool, err error) {
	raw, err := x.skipTo(">")
	if err != nil {
		return "", false, err
	}
	name := raw
	if i := bytes.IndexAny(raw, spaces); i >= 0 {
		name = raw[:i]
		if bytes.IndexByte(raw, '<') >= 0 || !quoted(raw) {
			return "", false, x.problem("an unusual tag")
		}
	}
	if empty = bytes.HasSuffix(raw, []byte("/")); empty && len(name) == len(raw) {
		name = name[:len(name)-1]
	}
	if string(name) == "plist" {
		return "plist", empty, nil
	}
	for _, e := range elements {
		if string(name) == e {
			return e, empty, nil
		}
	}
	return "", false, x.problem("<%.20s> is not an element of property lists", name)
}

// close reads an end tag.
func (x *infoXML) close(element string) error {
	if x.has("</") {
		x.at += len("</")
		if x.has(element) {
			x.at += len(element)
			if x.spaces(); x.has(">") {
				x.at++
				return nil
			}
		}
	}
	return x.problem("want </%s>", element)
}

// root reads up to the start tag of the only value.
func (x *infoXML) root() (element string, empty, inPlist bool, err error) {
	element, empty, end, err := x.open(true)
	if err == nil && element == "plist" && !empty {
		inPlist = true
		element, empty, end, err = x.open(false)
	}
	if err == nil && (end || element == "plist" || element == "key") {
		err = x.problem("want a value")
	}
	return element, empty, inPlist, err
}

// key reads the next key of a dictionary. ok is false at its end.
func (x *infoXML) key() (raw []byte, ok bool, err error) {
	element, empty, end, err := x.open(false)
	switch {
	case err != nil:
		return nil, false, err
	case end:
		return nil, false, x.close("dict")
	case element != "key":
		return nil, false, x.problem("<%s>, want a key", element)
	case empty:
		return nil, true, nil
	}
	from := x.at
	if err := x.leaf("key", false); err != nil {
		return nil, false, err
	}
	return x.text[from:bytes.LastIndexByte(x.text[:x.at], '<')], true, nil
}

// value reads the rest of a value after its start tag.
func (x *infoXML) value(element string, empty bool) error {
	x.stack = x.stack[:0]
	for {
		switch {
		case element == "plist", element == "key" && !(len(x.stack) > 0 && x.stack[len(x.stack)-1] == expectValue):
			return x.problem("<%s>, want a value", element)
		case (element == "dict" || element == "array") && !empty:
			if len(x.stack) == maxInfoLevels {
				return x.problem("more than %d levels", maxInfoLevels)
			}
			kind := expectKey
			if element == "array" {
				kind = expectItem
			}
			x.stack = append(x.stack, kind)
		default:
			if err := x.leaf(element, empty); err != nil {
				return err
			}
		}
		var err error
		if element, empty, err = x.following(); err != nil || element == "" {
			return err
		}
	}
}

// following reads the end tags after a value, and the start tag of the next one: an empty one after the outermost value. In
// a dictionary, keys and values alternate.
func (x *infoXML) following() (element string, empty bool, err error) {
	for len(x.stack) > 0 {
		element, empty, end, err := x.open(false)
		if err != nil {
			return "", false, err
		}
		top := &x.stack[len(x.stack)-1]
		if end {
			name := "dict"
			switch *top {
			case expectValue:
				return "", false, x.problem("a key without a value")
			case expectItem:
				name = "array"
			}
			if err := x.close(name); err != nil {
				return "", false, err
			}
			x.stack = x.stack[:len(x.stack)-1]
			continue
		}
		switch isKey := element == "key"; {
		case isKey != (*top == expectKey):
			return "", false, x.problem("<%s>, and keys and values do not alternate", element)
		case isKey:
			*top = expectValue
		case *top == expectValue:
			*top = expectKey
		}
		return element, empty, nil
	}
	return "", false, nil
}

// leaf reads the rest of a value that is no container.
func (x *infoXML) leaf(element string, empty bool) error {
	ok := true
	switch element {
	case "string", "key":
		if empty {
			return nil
		}
		if err := x.string(); err != nil {
			return err
		}
	case "true", "false":
		if empty {
			return nil
		}
	case "dict", "array": // empty
		return nil
	default:
		length := bytes.IndexByte(x.text[x.at:], '<')
		if length < 0 || empty {
			return x.problem("an empty <%s>", element)
		}
		raw := x.text[x.at : x.at+length]
		switch element {
		case "data":
			for _, b := range raw {
				ok = ok && b < utf8.RuneSelf
			}
		case "date":
			ok = len(raw) <= maxNumber && dateText().Match(raw)
		case "real":
			ok = len(raw) <= maxNumber && laxRealText().Match(raw)
		case "integer":
			ok = isInteger(raw)
		}
		x.at += length
	}
	if !ok {
		return x.problem("it ends an unusual <%s>", element)
	}
	return x.close(element)
}

// string reads text up to an end tag.
func (x *infoXML) string() error {
	const cdata = "<![CDATA["
	for {
		length := bytes.IndexByte(x.text[x.at:], '<')
		if length < 0 {
			return errInfoEnd
		}
		for raw := x.text[x.at : x.at+length]; ; {
			i := bytes.IndexByte(raw, '&')
			if i < 0 {
				break
			}
			_, n := reference(raw[i:])
			if n == 0 {
				return x.problem("it begins text with an unusual reference to a character")
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

// end reads what follows the only value in a <plist>. CoreFoundation ignores everything behind that.
func (x *infoXML) end(inPlist bool) error {
	if inPlist {
		_, _, end, err := x.open(false)
		if err != nil {
			return err
		}
		if !end {
			return x.problem("a second value")
		}
		if err := x.close("plist"); err != nil {
			return err
		}
	}
	text := x.text[:x.at]
	if !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 || bytes.Contains(text, []byte("\ufffe")) || bytes.Contains(text, []byte("\uffff")) {
		return x.problem("the text before is not Unicode")
	}
	return nil
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

// plainText decodes what string has read.
func plainText(raw []byte) string {
	var text []byte
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
	return string(append(text, raw...))
}

// isInteger reports whether CoreFoundation reads an integer: an unsigned or a signed one of 64 bits, decimal or hexadecimal.
func isInteger(raw []byte) bool {
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
