package resources

import (
	"bytes"
	"encoding/base64"
	"fmt"

	"narseal/macho"
)

// xml returns the edits of a list in XML. Parse has checked only the tables that it reads, not the whole list.
func (u *Update) xml(list []byte) ([]edit, error) {
	w := newXMLWalk(list, nil)
	if _, err := w.root(); err != nil {
		return nil, err
	}
	second := false
	err := walkTables(list, func(table string) bool { second = second || table == "files2"; return false }, nil)
	if err != nil {
		return nil, err
	}
	x := &xmlUpdate{Update: u, xmlWalk: w}
	err = w.dict(func(table string) error {
		start, err := w.start()
		if err != nil {
			return err
		}
		if table != "files" && table != "files2" || start != "dict" {
			return w.skip(start)
		}
		u.read = (table == "files2") == second
		return w.dict(x.entry)
	})
	return x.edits, err
}

type xmlUpdate struct {
	*Update
	*xmlWalk
	edits   []edit
	entries int
}

// field is a value of an entry. Its text is the bytes between the tags.
type field struct {
	key, element string
	at           int64
	text         []byte
}

// entry reads an entry and collects the changes to it.
func (x *xmlUpdate) entry(path string) error {
	if x.entries++; x.entries > 2*maxEntries {
		return fmt.Errorf("it has more than %d entries", 2*maxEntries)
	}
	start, err := x.start()
	if err != nil {
		return err
	}
	if start != "dict" {
		f, err := x.field("hash", start)
		if err != nil || start != "data" {
			return err
		}
		return x.data(path, f)
	}
	var fields []field
	size := 0
	err = x.dict(func(key string) error {
		start, err := x.start()
		if err != nil {
			return err
		}
		f, err := x.field(key, start)
		if size += len(f.text); size > maxValue {
			return fmt.Errorf("%.100q has more than %d bytes", path, maxValue)
		}
		fields = append(fields, f)
		return err
	})
	if err != nil {
		return err
	}
	return x.fields(path, fields)
}

// field reads the rest of a value.
func (x *xmlUpdate) field(key, element string) (field, error) {
	f := field{key: key, element: element, at: x.InputOffset()}
	if err := x.skip(element); err != nil {
		return f, err
	}
	f.text = x.xmlWalk.data[f.at:x.InputOffset()]
	f.text = f.text[:max(bytes.LastIndex(f.text, []byte("</")), 0)]
	return f, nil
}

func (x *xmlUpdate) fields(path string, fields []field) error {
	code := x.nested(path)
	var to renamed
	for _, f := range fields {
		switch {
		case f.key == "requirement" && f.element == "string" && code != nil:
			text, names, err := x.requirement(code, f.text)
			if err != nil {
				return err
			}
			to = names
			x.edit(path, f.key, f.at, f.text, text)
		case f.element == "data" && hashKeys[f.key] != 0:
			if err := x.data(path, f); err != nil {
				return err
			}
		}
	}
	for _, f := range fields {
		if f.key != "cdhash" || f.element != "data" || code == nil {
			continue
		}
		old, err := decodeText(f.text)
		if err != nil {
			continue // it is never read
		}
		if now, ok := codeHash(code, to, old); ok && !bytes.Equal(now, old) {
			x.edit(path, f.key, f.at, f.text, encodeText(f.text, now))
		}
	}
	return nil
}

// data updates a digest.
func (x *xmlUpdate) data(path string, f field) error {
	old, err := decodeText(f.text)
	if err != nil {
		if _, ok := x.paths[path]; ok {
			return err
		}
		return nil
	}
	t := macho.SHA1
	if f.key != "hash" {
		t = hashKeys[f.key]
	}
	if sum, ok := x.digest(path, t, old); ok && !bytes.Equal(sum, old) {
		x.edit(path, f.key, f.at, f.text, encodeText(f.text, sum))
	}
	return nil
}

// edit records that the text at an offset is replaced with now, unless now is nil.
func (x *xmlUpdate) edit(path, key string, at int64, old, now []byte) {
	if now != nil && !bytes.Equal(old, now) {
		x.change(path, key)
		x.edits = append(x.edits, edit{at, now})
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// decodeText decodes base64 with white space, as Apple writes it. Anything else, such as a comment, is an error.
func decodeText(text []byte) ([]byte, error) {
	packed := make([]byte, 0, len(text))
	for _, c := range text {
		if !isSpace(c) {
			packed = append(packed, c)
		}
	}
	sum, err := base64.StdEncoding.Strict().AppendDecode(nil, packed)
	if err != nil {
		return nil, errText
	}
	return sum, nil
}

// encodeText returns text with its base64 digits replaced with those of data, which has the same length. It keeps white
// space.
func encodeText(text, data []byte) []byte {
	packed := base64.StdEncoding.AppendEncode(nil, data)
	out := bytes.Clone(text)
	for i, c := range out {
		if !isSpace(c) {
			out[i], packed = packed[0], packed[1:]
		}
	}
	return out
}
