package resources

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	"howett.net/plist"

	"narseal/macho/internal/infoplist"
)

// walkXML calls add for each table, with an empty key, and then for each of its entries. It decodes only single
// entries, because the parser needs many times the memory of its input.
func walkXML(data []byte, add func(table, key string, value any) error) error {
	second := false
	err := infoplist.Dictionary(data, func(key []byte, _ func(int) (string, bool, error)) error {
		second = second || string(key) == "files2"
		return nil
	})
	if err != nil {
		return cmp.Or(walkTables(data, func(string) bool { return false }, nil), err)
	}
	return walkTables(data, func(table string) bool { return strings.HasSuffix(table, "2") == second }, add)
}

// walkTables is like walkXML, but only for tables for which wanted returns true.
func walkTables(data []byte, wanted func(string) bool, add func(table, key string, value any) error) error {
	w := newXMLWalk(data, add)
	start, err := w.root()
	if err != nil {
		return err
	}
	if start != "dict" {
		return fmt.Errorf("it begins with <%.20s>, want a dictionary", start)
	}
	err = w.dict(func(key string) error {
		if !isTable(key) || !wanted(key) {
			return w.value()
		}
		if err := add(key, "", nil); err != nil {
			return err
		}
		if start, err := w.start(); err != nil || start != "dict" {
			return errors.Join(err, fmt.Errorf("%s is not a dictionary", key))
		}
		return w.dict(func(path string) error { return w.entry(key, path) })
	})
	if err != nil {
		return err
	}
	return w.end()
}

// next returns the next start or end tag. Only white space is allowed between tags.
func (w *xmlWalk) next() (xml.Token, error) {
	for {
		t, err := w.token()
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		switch t := t.(type) {
		case xml.StartElement, xml.EndElement:
			return t, nil
		case xml.CharData:
			if len(bytes.Trim(w.data[w.at:w.InputOffset()], spaces)) > 0 {
				return nil, fmt.Errorf("offset %d: text %.20q between elements", w.at, t)
			}
		}
	}
}

// start returns the name of the start tag that must come next.
func (w *xmlWalk) start() (string, error) {
	t, err := w.next()
	if err != nil {
		return "", err
	}
	start, ok := t.(xml.StartElement)
	if !ok {
		return "", fmt.Errorf("offset %d: an end tag, want a value", w.at)
	}
	return start.Name.Local, nil
}

// root reads up to the start tag of the only value, and returns its name.
func (w *xmlWalk) root() (string, error) {
	start, err := w.start()
	if err == nil && start == "plist" {
		start, err = w.start()
	}
	return start, err
}

// end reads the rest after the only value.
func (w *xmlWalk) end() error {
	for {
		t, err := w.next()
		switch {
		case err == io.ErrUnexpectedEOF:
			return nil // the decoder has checked that nothing is open
		case err != nil:
			return err
		}
		if _, ok := t.(xml.EndElement); !ok {
			return fmt.Errorf("offset %d: a second value", w.at)
		}
	}
}

// value reads a value.
func (w *xmlWalk) value() error {
	name, err := w.start()
	if err != nil {
		return err
	}
	return w.skip(name)
}

// entry reads the value of an entry.
func (w *xmlWalk) entry(table, key string) error {
	if key == "" {
		return fmt.Errorf("%s has an empty name", table)
	}
	name, err := w.start()
	if err != nil {
		return err
	}
	from := w.at
	if err := w.skip(name); err != nil {
		return err
	}
	raw := w.data[from:w.InputOffset()]
	if len(raw) > maxValue {
		return fmt.Errorf("%s: %.100q has a value of %d bytes, more than %d", table, key, len(raw), maxValue)
	}
	if name == "true" || name == "false" { // as in most rules
		return w.add(table, key, name == "true")
	}
	if err := uniqueKeys(raw); err != nil {
		return fmt.Errorf("%s: %.100q: %w", table, key, err)
	}
	value, err := decode(raw)
	if err != nil {
		return fmt.Errorf("%s: %.100q: %w", table, key, err)
	}
	return w.add(table, key, value)
}

// dict reads the rest of a dictionary and calls value to read each value. add checks that keys are not repeated in a
// table.
func (w *xmlWalk) dict(value func(key string) error) error {
	for {
		t, err := w.next()
		if err != nil {
			return err
		}
		start, ok := t.(xml.StartElement)
		if !ok {
			return nil // the decoder has checked that it ends the dictionary
		}
		if start.Name.Local != "key" {
			return fmt.Errorf("offset %d: <%.20s>, want a key", w.at, start.Name.Local)
		}
		from, text := w.at, w.InputOffset()
		if err := w.skip("key"); err != nil {
			return err
		}
		if w.InputOffset()-from > maxValue {
			return fmt.Errorf("offset %d: a key of more than %d bytes", from, maxValue)
		}
		var key string
		if plain, ok := bytes.CutSuffix(w.data[text:w.InputOffset()], []byte("</key>")); ok && !bytes.ContainsAny(plain, "&<\r") {
			key = string(plain)
		} else if err := unmarshalKey(w.data[from:w.InputOffset()], &key); err != nil {
			return err
		}
		if err := value(key); err != nil {
			return err
		}
	}
}

// unmarshalKey decodes a key. It keeps the carriage return in names such as Icon\r, as Apple's parser does; XML would
// convert it to a newline.
func unmarshalKey(raw []byte, key *string) error {
	if bytes.ContainsRune(raw, '\r') {
		if bytes.Contains(raw, []byte("<!")) {
			return errors.New("a carriage return in CDATA")
		}
		raw = bytes.ReplaceAll(raw, []byte("\r"), []byte("&#13;"))
	}
	return xml.Unmarshal(raw, key)
}

// uniqueKeys refuses a value with a duplicate key, because parsers disagree on which one counts.
func uniqueKeys(raw []byte) error {
	d := xml.NewDecoder(bytes.NewReader(raw))
	var seen []map[string]bool
	for {
		t, err := d.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case xml.StartElement:
			if t.Name.Local != "key" {
				seen = append(seen, nil)
				continue
			}
			var key string
			if err := d.DecodeElement(&key, &t); err != nil {
				return err
			}
			if len(seen) == 0 || seen[len(seen)-1][key] {
				return fmt.Errorf("it has %.100q twice", key)
			}
			if seen[len(seen)-1] == nil {
				seen[len(seen)-1] = map[string]bool{}
			}
			seen[len(seen)-1][key] = true
		case xml.EndElement:
			seen = seen[:len(seen)-1]
		}
	}
}

// decode decodes a property list. The library panics on some errors.
func decode(raw []byte) (value any, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("not a property list: %v", r)
		}
	}()
	format, err := plist.Unmarshal(raw, &value)
	if err == nil && format != plist.XMLFormat {
		err = errors.New("not an XML property list")
	}
	return value, err
}
