// Package infoplist reads an Info.plist in XML as CoreFoundation does (CFPropertyList.c), without decoding it: people write
// these files, and may write them large. What that parser refuses is an error, and also what its versions, or other parsers,
// may read differently.
package infoplist

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"
)

// ErrNoDictionary says that a file is not a property list in XML with a dictionary.
var ErrNoDictionary = errors.New("not a dictionary")

// ErrLong says that a text is longer than it may be.
var ErrLong = errors.New("the text is too long")

// Dictionary calls entry for each key of the dictionary that an Info.plist contains, after it has read the value. text
// returns the value if that is a string (is), of at most most bytes in the file. key is valid until entry returns.
func Dictionary(data []byte, entry func(key []byte, text func(most int) (s string, is bool, err error)) error) error {
	text, err := utf8Text(data)
	if err != nil {
		return err
	}
	x := &reader{text: text}
	element, empty, inPlist, err := x.root()
	if err != nil || element != "dict" {
		return ErrNoDictionary
	}
	for !empty {
		key, ok, err := x.key()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if err := x.entry(key, entry); err != nil {
			return err
		}
	}
	return x.end(inPlist)
}

// entry reads the value of a key.
func (x *reader) entry(key []byte, entry func([]byte, func(int) (string, bool, error)) error) error {
	element, empty, end, err := x.open(false)
	if err != nil {
		return err
	}
	if end {
		return x.problem("a key without a value")
	}
	from := x.at
	if err := x.value(element, empty); err != nil {
		return err
	}
	raw := x.text[from:x.at]
	x.decoded = appendText(x.decoded[:0], key)
	return entry(x.decoded, func(most int) (string, bool, error) {
		switch {
		case element != "string" || empty:
			return "", element == "string", nil
		case len(raw) > most:
			return "", true, ErrLong
		}
		return string(appendText(nil, raw[:bytes.LastIndexByte(raw, '<')])), true, nil
	})
}

// reader reads a property list.
type reader struct {
	text    []byte
	at      int
	stack   []byte // what each open container expects
	decoded []byte // the key
}

// elements lists the elements of values in a property list.
var elements = []string{"dict", "array", "key", "string", "data", "date", "integer", "real", "true", "false"}

// spaces are the characters that CoreFoundation skips between elements.
const spaces = " \t\r\n"

// What a container expects.
const (
	expectKey byte = iota // a dictionary
	expectValue
	expectItem // an array
)

// maxLevels bounds how deep the values of an Info.plist may be nested. CoreFoundation reads a few more.
const maxLevels = 256

func (x *reader) problem(format string, args ...any) error {
	return fmt.Errorf("offset %d: %s", x.at, fmt.Sprintf(format, args...))
}

var errEnd = errors.New("it ends too early")

// skipTo moves past the next end, and returns what precedes it.
func (x *reader) skipTo(end string) ([]byte, error) {
	length := bytes.Index(x.text[x.at:], []byte(end))
	if length < 0 {
		return nil, errEnd
	}
	skipped := x.text[x.at : x.at+length]
	x.at += length + len(end)
	return skipped, nil
}

func (x *reader) has(prefix string) bool { return bytes.HasPrefix(x.text[x.at:], []byte(prefix)) }

func (x *reader) spaces() {
	for x.at < len(x.text) {
		switch x.text[x.at] {
		case ' ', '\t', '\r', '\n':
			x.at++
		default:
			return
		}
	}
}

// open reads the next start tag. end reports that an end tag comes instead, which close reads. Comments, processing
// instructions and, in the prolog, a declaration may come before it.
func (x *reader) open(prolog bool) (element string, empty, end bool, err error) {
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
		case x.has("<?"):
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
func (x *reader) tag() (element string, empty bool, err error) {
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
func (x *reader) close(element string) error {
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
func (x *reader) root() (element string, empty, inPlist bool, err error) {
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
func (x *reader) key() (raw []byte, ok bool, err error) {
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
func (x *reader) value(element string, empty bool) error {
	x.stack = x.stack[:0]
	for {
		switch {
		case element == "plist", element == "key" && !(len(x.stack) > 0 && x.stack[len(x.stack)-1] == expectValue):
			return x.problem("<%s>, want a value", element)
		case (element == "dict" || element == "array") && !empty:
			if len(x.stack) == maxLevels {
				return x.problem("more than %d levels", maxLevels)
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
func (x *reader) following() (element string, empty bool, err error) {
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

// end reads what follows the only value in a <plist>. CoreFoundation ignores everything behind that.
func (x *reader) end(inPlist bool) error {
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
