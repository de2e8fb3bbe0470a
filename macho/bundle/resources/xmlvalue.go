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

// maxInfoLevels bounds how deep the values of an Info.plist may be nested. Apple's parser reads a few more.
const maxInfoLevels = 256

// skip reads the rest of an element. It refuses what Apple's parser does not read, and what parsers read differently.
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
			if len(stack) >= maxLevels && !(w.info && len(stack) < maxInfoLevels) {
				return fmt.Errorf("offset %d: more than %d levels", w.InputOffset(), len(stack))
			}
			why = l.child(t.Name)
			stack = append(stack, level{element: t.Name.Local, from: w.InputOffset()})
		case xml.EndElement:
			if why = w.contents(l, w.at); l.pending {
				why = "a key without a value"
			}
			stack = stack[:len(stack)-1]
		case xml.CharData:
			why = l.text(w.data[w.at:w.InputOffset()], w.lax)
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

// text says why an element must not contain this. contents checks the others. dict reads a carriage return in a key, as
// in Icon\r.
func (l *level) text(raw []byte, lax bool) string {
	switch l.element {
	case "string":
		if bytes.ContainsRune(raw, '\r') && !lax {
			return "a carriage return in a string"
		}
	case "array", "dict":
		if len(bytes.Trim(raw, spaces)) > 0 {
			return fmt.Sprintf("text %.20q between elements", raw)
		}
	}
	return ""
}
