package resources

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
)

// elements lists the elements of values in a property list.
var elements = []string{"dict", "array", "key", "string", "data", "date", "integer", "real", "true", "false"}

// skip reads the rest of an element. It refuses anything that Apple's parser does not accept, or that parsers read
// differently.
func (w *xmlWalk) skip(element string) error {
	stack := []level{{element: element, from: w.InputOffset()}}
	if !slices.Contains(elements, element) {
		return fmt.Errorf("offset %d: <%.20s> is not an element of property lists", w.at, element)
	}
	for len(stack) > 0 {
		t, err := w.token()
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
			stack = append(stack, level{element: t.Name.Local, from: w.InputOffset()})
		case xml.EndElement:
			if why = w.contents(l, w.at); l.pending {
				why = "a key without a value"
			}
			stack = stack[:len(stack)-1]
		case xml.CharData:
			why = l.text(w.data[w.at:w.InputOffset()])
		default:
			if !l.isContainer() {
				why = "a comment in a value"
			}
		}
		if why != "" {
			return fmt.Errorf("offset %d: %s", w.at, why)
		}
	}
	return nil
}

// child returns the reason why an element is not allowed next in this one, or "".
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

// text returns the reason why text is not allowed in a string or a container, or "". contents checks other elements. A
// carriage return in a key, as in Icon\r, is handled by dict.
func (l *level) text(raw []byte) string {
	switch l.element {
	case "string":
		if bytes.ContainsRune(raw, '\r') {
			return "a carriage return in a string"
		}
	case "array", "dict":
		if len(bytes.Trim(raw, spaces)) > 0 {
			return fmt.Sprintf("text %.20q between elements", raw)
		}
	}
	return ""
}
