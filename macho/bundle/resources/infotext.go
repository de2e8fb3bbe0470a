package resources

import (
	"bytes"
	"encoding/binary"
	"io"
	"unicode/utf16"
	"unicode/utf8"
)

// newInfoWalk returns an xmlWalk over an Info.plist, and its text as UTF-8. These files may be written by hand. If
// Apple's parser accepts a text, newInfoWalk converts it to one that the decoder accepts.
func newInfoWalk(data []byte) ([]byte, *xmlWalk) {
	text, marked := bytes.CutPrefix(data, []byte("\xef\xbb\xbf")) // a byte order mark
	if wide, ok := fromUTF16(data); ok {
		text, marked = wide, true
	}
	if !marked && !isUTF8(text) {
		text = nil
	}
	text = plainComments(text)
	w := newXMLWalk(text, nil)
	w.info = true
	w.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil }
	return text, w
}

// isUTF8 reports whether Apple's parser takes a text without a byte order mark for UTF-8 (encodingForXMLData): it looks for a
// declaration at the start only, and knows no spaces in it.
func isUTF8(text []byte) bool {
	declared, ok := bytes.CutPrefix(text, []byte("<?xml"))
	end := bytes.IndexAny(declared, "?>")
	if !ok || end < 0 {
		return true
	}
	at := bytes.Index(declared[:end], []byte("encoding="))
	if at < 0 {
		return true
	}
	value := declared[at+len("encoding="):]
	if value[0] != '"' && value[0] != '\'' {
		return true
	}
	name, _, ok := bytes.Cut(value[1:], value[:1])
	return !ok || bytes.EqualFold(name, []byte("UTF-8")) || bytes.EqualFold(name, []byte("US-ASCII")) && isASCII(string(text))
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
	text = make([]byte, 0, len(data))
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

// plainComments replaces double hyphens inside comments, which XML forbids but Apple's parser allows.
func plainComments(text []byte) []byte {
	copied := false
	for at := 0; ; {
		begin := bytes.Index(text[at:], []byte("<!"))
		if begin < 0 {
			return text
		}
		at += begin
		end := "-->"
		switch {
		case bytes.HasPrefix(text[at:], []byte("<!--")):
			at += len("<!--")
		case bytes.HasPrefix(text[at:], []byte("<![CDATA[")):
			end = "]]>"
		default:
			at += len("<!")
			continue
		}
		length := bytes.Index(text[at:], []byte(end))
		if length < 0 {
			return text
		}
		inside := text[at : at+length]
		if end == "-->" && !bytes.HasPrefix(inside, []byte("->")) && (bytes.Contains(inside, []byte("--")) || bytes.HasSuffix(inside, []byte("-"))) {
			if !copied {
				text, copied = bytes.Clone(text), true
				inside = text[at : at+length]
			}
			for i := range inside {
				if inside[i] == '-' {
					inside[i] = ' '
				}
			}
		}
		at += length + len(end)
	}
}
