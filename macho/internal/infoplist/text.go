package infoplist

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// utf8Text returns the text of an Info.plist in XML as UTF-8. It knows the encodings in which people write them, and finds
// out which one it is as CoreFoundation does (encodingForXMLData).
func utf8Text(data []byte) ([]byte, error) {
	if text, ok := bytes.CutPrefix(data, []byte("\xef\xbb\xbf")); ok { // a byte order mark
		return text, nil
	}
	if text, ok := fromUTF16(data); ok {
		return text, nil
	}
	if bytes.IndexByte(data[:min(len(data), 2)], 0) >= 0 {
		return nil, errors.New("text of an unknown encoding")
	}
	switch name := declaredEncoding(data); {
	case strings.EqualFold(name, "utf-8"), name == "":
	case strings.EqualFold(name, "us-ascii") && !slices.ContainsFunc(data, func(b byte) bool { return b >= utf8.RuneSelf }):
	default:
		return nil, errors.New("text of another encoding")
	}
	return data, nil
}

// declaredEncoding returns the name of the encoding that a text declares for CoreFoundation.
func declaredEncoding(data []byte) string {
	if !bytes.HasPrefix(data, []byte("<?xml")) {
		return ""
	}
	declaration := data[len("<?xml"):]
	_, after, found := bytes.Cut(declaration, []byte("encoding="))
	if end := bytes.IndexAny(declaration, "?>"); !found || 0 <= end && end < len(declaration)-len(after) {
		return ""
	}
	if len(after) == 0 || after[0] != '"' && after[0] != '\'' {
		return ""
	}
	name, _, found := bytes.Cut(after[1:min(len(after), 64)], after[:1])
	if !found || len(name) == 0 {
		return "unknown"
	}
	return string(name)
}

// fromUTF16 converts text with a byte order mark of UTF-16 to UTF-8.
func fromUTF16(data []byte) (text []byte, ok bool) {
	var order binary.ByteOrder = binary.BigEndian
	switch {
	case len(data)%2 != 0 || bytes.HasPrefix(data, []byte("\xff\xfe\x00\x00")): // UTF-32
		return nil, false
	case bytes.HasPrefix(data, []byte("\xff\xfe")):
		order = binary.LittleEndian
	case !bytes.HasPrefix(data, []byte("\xfe\xff")):
		return nil, false
	}
	text = make([]byte, 0, len(data)/2*3) // a unit of two bytes takes three, or two take four
	for data = data[2:]; len(data) > 0; data = data[2:] {
		r := rune(order.Uint16(data))
		if utf16.IsSurrogate(r) {
			if len(data) < 4 {
				return nil, false
			}
			if r = utf16.DecodeRune(r, rune(order.Uint16(data[2:]))); r == utf8.RuneError {
				return nil, false
			}
			data = data[2:]
		}
		text = utf8.AppendRune(text, r)
	}
	return text, true
}
