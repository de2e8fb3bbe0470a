package resources

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
)

// elements are those of values in a property list.
var elements = []string{"dict", "array", "key", "string", "data", "date", "integer", "real", "true", "false"}

// level is an open element.
type level struct {
	element string
	pending bool // a dictionary has a key without a value
}

func (l *level) isContainer() bool { return l.element == "dict" || l.element == "array" }

// skip reads the rest of an element. It refuses what Apple's parser does not read, and what parsers read differently.
func (w *xmlWalk) skip(element string) error {
	stack := []level{{element: element}}
	if !slices.Contains(elements, element) {
		return fmt.Errorf("offset %d: <%.20s> is not an element of property lists", w.at, element)
	}
	for len(stack) > 0 {
		from := w.InputOffset()
		t, err := w.Token()
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		l := &stack[len(stack)-1]
		why := ""
		switch t := t.(type) {
		case xml.StartElement:
			if len(stack) == maxLevels {
				return fmt.Errorf("offset %d: more than %d levels", w.InputOffset(), maxLevels)
			}
			why = l.child(t.Name)
			stack = append(stack, level{element: t.Name.Local})
		case xml.EndElement:
			if l.pending {
				why = "a key without a value"
			}
			stack = stack[:len(stack)-1]
		case xml.CharData:
			why = l.text(w.data[from:w.InputOffset()])
		default:
			if !l.isContainer() {
				why = "a comment in a value"
			}
		}
		if why != "" {
			return fmt.Errorf("offset %d: %s", from, why)
		}
	}
	return nil
}

// child says why an element must not come next in this one.
func (l *level) child(name xml.Name) string {
	switch {
	case name.Space != "" || !slices.Contains(elements, name.Local):
		return fmt.Sprintf("<%.20s> is not an element of property lists", name.Local)
	case !l.isContainer():
		return fmt.Sprintf("<%.20s> in <%s>", name.Local, l.element)
	case (name.Local == "key") != (l.element == "dict" && !l.pending):
		return fmt.Sprintf("<%s>, and keys and values do not alternate", name.Local)
	}
	l.pending = name.Local == "key"
	return ""
}

// text says why an element must not contain this. dict reads a carriage return in a key, as in Icon\r.
func (l *level) text(raw []byte) string {
	switch l.element {
	case "string":
		if bytes.ContainsRune(raw, '\r') {
			return "a carriage return in a string"
		}
	case "integer", "real":
		if len(bytes.Trim(raw, "0123456789+-.eE \t\r\n")) > 0 {
			return fmt.Sprintf("%.20q is not a number", raw)
		}
	case "key", "data", "date":
	default:
		if len(bytes.TrimSpace(raw)) > 0 {
			return fmt.Sprintf("text %.20q between elements", raw)
		}
	}
	return ""
}
