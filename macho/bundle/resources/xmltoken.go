package resources

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"narseal/macho/internal/infoplist"
)

// xmlWalk reads a property list token by token. Apple's parser (CFPropertyList.c) is not an XML parser: for example, it
// ignores quotes in tags and declarations, and ends each at the first >. A list that the two parsers would split into
// different tokens is an error.
type xmlWalk struct {
	*xml.Decoder
	data    []byte
	add     func(table, key string, value any) error
	at      int64 // offset of the last token
	inside  bool  // the root has begun
	prolog  bool  // something precedes the root
	doctype bool
}

func newXMLWalk(data []byte, add func(table, key string, value any) error) *xmlWalk {
	return &xmlWalk{data: data, Decoder: xml.NewDecoder(bytes.NewReader(data)), add: add}
}

// token returns the next token. It refuses declarations after the root has begun.
func (w *xmlWalk) token() (xml.Token, error) {
	w.at = w.InputOffset()
	t, err := w.Token()
	if err != nil {
		return nil, err
	}
	raw := w.data[w.at:w.InputOffset()]
	why := ""
	switch t := t.(type) {
	case xml.StartElement:
		w.inside = true
		if bytes.IndexByte(raw, '>') != len(raw)-1 {
			why = "a > in a tag"
		}
		if t.Name.Space != "" {
			why = fmt.Sprintf("<%.20s> in a name space", t.Name.Local)
		}
	case xml.CharData:
		return t, nil
	case xml.Comment:
		if bytes.HasPrefix(t, []byte("->")) { // Apple's parser takes <!---> for a whole comment
			why = "an unusual comment"
		}
	case xml.ProcInst:
		if w.prolog || w.inside || !xmlDeclaration().Match(raw) {
			why = "an unusual processing instruction"
		}
	case xml.Directive:
		body, isDoctype := bytes.CutPrefix(raw, []byte("<!DOCTYPE"))
		if w.inside || w.doctype || !isDoctype || bytes.ContainsAny(body, "<[") || bytes.IndexByte(body, '>') != len(body)-1 {
			why = "an unusual declaration"
		}
		w.doctype = true
	}
	w.prolog = true
	if why != "" {
		return nil, fmt.Errorf("offset %d: %s", w.at, why)
	}
	return t, nil
}

// xmlDeclaration matches the declaration of UTF-8.
var xmlDeclaration = lazyRegexp(`^<\?xml\s+version\s*=\s*["']1\.0["'](\s+encoding=["'](?i:utf-8)["'])?(\s+standalone=["'](yes|no)["'])?\s*\?>$`)

// spaces are the characters that Apple's parser skips between elements.
const spaces = " \t\r\n"

// level is an open element.
type level struct {
	element string
	from    int64 // offset of its contents
	pending bool  // a dictionary has a key without a value
}

func (l *level) isContainer() bool { return l.element == "dict" || l.element == "array" }

// The contents of values that all parsers accept. infoplist.IsInteger checks the size of integers.
var (
	integerText = lazyRegexp(`^[ \t\r\n]*[+-]?[0-9]+$`)
	realText    = lazyRegexp(`^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$`)
	dateText    = lazyRegexp(`^-?[0-9]+-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$`)
	dataText    = lazyRegexp(`^[A-Za-z0-9+/= \t\r\n]*$`)
)

// contents returns the reason why the contents of an element, which end at offset end, are not allowed, or "".
func (w *xmlWalk) contents(l *level, end int64) string {
	raw := w.data[l.from:end]
	ok := true
	switch l.element {
	case "integer":
		ok = integerText().Match(raw) && infoplist.IsInteger(raw)
	case "real":
		ok = realText().Match(raw)
	case "date":
		ok = dateText().Match(raw)
	case "data":
		ok = w.data[l.from-2] != '/' && dataText().Match(raw) // Apple's parser does not read <data/>
	case "true", "false":
		ok = len(raw) == 0
	case "string", "key":
		ok = plainReferences(raw)
	}
	if !ok {
		return fmt.Sprintf("<%s> has the text %.20q", l.element, raw)
	}
	return ""
}

// plainReferences reports whether parsers agree on all numeric character references.
func plainReferences(raw []byte) bool {
	for {
		_, after, found := bytes.Cut(raw, []byte("&#"))
		if !found {
			return true
		}
		raw = after
		text, _, _ := bytes.Cut(raw[:min(len(raw), 9)], []byte(";"))
		number, base := string(text), 10
		if hex, isHex := strings.CutPrefix(number, "x"); isHex {
			number, base = hex, 16
		}
		n, err := strconv.ParseUint(number, base, 21)
		if err != nil || len(number) > 7 || !utf8.ValidRune(rune(n)) {
			return false
		}
	}
}
