package resources

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"

	"howett.net/plist"
)

// walkXML calls add for each table, with an empty key, and then for each of its entries. Only the entries are decoded,
// one at a time: the parser takes many times the memory of its input.
func walkXML(data []byte, add func(table, key string, value any) error) error {
	var present []string
	err := walkTables(data, func(table string) bool { present = append(present, table); return false }, nil)
	if err != nil {
		return err
	}
	old := func(table string) bool { return slices.Contains(present, table+"2") }
	return walkTables(data, func(table string) bool { return !old(table) }, add)
}

// walkTables is walkXML for the tables that are wanted.
func walkTables(data []byte, wanted func(string) bool, add func(table, key string, value any) error) error {
	w := &xmlWalk{data: data, Decoder: xml.NewDecoder(bytes.NewReader(data)), add: add}
	start, err := w.start()
	if err == nil && start == "plist" {
		start, err = w.start()
	}
	if err != nil {
		return err
	}
	if start != "dict" {
		return fmt.Errorf("it begins with <%.20s>, want a dictionary", start)
	}
	return w.dict(func(key string) error {
		if !isTable(key) || !wanted(key) {
			if _, err := w.start(); err != nil {
				return err
			}
			return w.skip()
		}
		if err := add(key, "", nil); err != nil {
			return err
		}
		if start, err := w.start(); err != nil || start != "dict" {
			return errors.Join(err, fmt.Errorf("%s is not a dictionary", key))
		}
		return w.dict(func(path string) error { return w.entry(key, path) })
	})
}

type xmlWalk struct {
	*xml.Decoder
	data []byte
	add  func(table, key string, value any) error
	at   int64 // of the start tag that start returned
}

// next returns the next start or end tag. Text between tags is white space.
func (w *xmlWalk) next() (xml.Token, error) {
	for {
		w.at = w.InputOffset()
		t, err := w.Token()
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
			if len(bytes.TrimSpace(t)) > 0 {
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

// skip reads the rest of an element.
func (w *xmlWalk) skip() error {
	for depth := 1; depth > 0; {
		t, err := w.Token()
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		switch t.(type) {
		case xml.StartElement:
			if depth++; depth > maxLevels {
				return fmt.Errorf("offset %d: more than %d levels", w.InputOffset(), maxLevels)
			}
		case xml.EndElement:
			depth--
		}
	}
	return nil
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
		if err := w.skip(); err != nil {
			return err
		}
		if w.InputOffset()-from > maxValue {
			return fmt.Errorf("offset %d: a key of more than %d bytes", from, maxValue)
		}
		var key string
		if plain, ok := bytes.CutSuffix(w.data[text:w.InputOffset()], []byte("</key>")); ok && !bytes.ContainsAny(plain, "&<\r") {
			key = string(plain)
		} else if err := xml.Unmarshal(w.data[from:w.InputOffset()], &key); err != nil {
			return err
		}
		if err := value(key); err != nil {
			return err
		}
	}
}

// entry reads the value of an entry.
func (w *xmlWalk) entry(table, key string) error {
	if key == "" {
		return fmt.Errorf("%s has an empty name", table)
	}
	if _, err := w.start(); err != nil {
		return err
	}
	from := w.at
	if err := w.skip(); err != nil {
		return err
	}
	raw := w.data[from:w.InputOffset()]
	if len(raw) > maxValue {
		return fmt.Errorf("%s: %.100q has a value of %d bytes, more than %d", table, key, len(raw), maxValue)
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

// uniqueKeys refuses a value that has a key twice, because parsers disagree on which one counts.
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
	if err == nil && format != plist.XMLFormat && format != plist.BinaryFormat {
		err = errors.New("not an XML or binary property list")
	}
	return value, err
}

// Executable returns the name of the main executable that an Info.plist gives, or an empty string.
func Executable(infoPlist []byte) string {
	const key = "CFBundleExecutable"
	if bytes.HasPrefix(infoPlist, []byte("bplist")) {
		if checkBinary(infoPlist) != nil {
			return ""
		}
		top, _ := decode(infoPlist)
		dict, _ := top.(map[string]any)
		name, _ := dict[key].(string)
		return string([]byte(name))
	}
	w := &xmlWalk{data: infoPlist, Decoder: xml.NewDecoder(bytes.NewReader(infoPlist))}
	name, found := "", 0
	if start, err := w.start(); err != nil || start != "plist" {
		return ""
	}
	if start, err := w.start(); err != nil || start != "dict" {
		return ""
	}
	err := w.dict(func(k string) error {
		if _, err := w.start(); err != nil {
			return err
		}
		from := w.at
		if err := w.skip(); err != nil || k != key {
			return err
		}
		found++
		raw := infoPlist[from:w.InputOffset()]
		if len(raw) > maxValue {
			return errors.New("too long")
		}
		value, err := decode(raw)
		name, _ = value.(string)
		return err
	})
	if err != nil || found != 1 {
		return ""
	}
	return name
}
