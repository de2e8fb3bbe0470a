package rules

import (
	"fmt"
	"strings"
)

// Encodings is a set of character encodings in which text is searched. UTF16 and UTF32, the wide encodings, include
// both byte orders. Text in them may start at any offset, even an odd one, and needs no byte order mark.
type Encodings uint8

// The encodings.
const (
	UTF8  Encodings = 1 << iota // one byte per character
	UTF16                       // two bytes per character, either byte order
	UTF32                       // four bytes per character, either byte order

	AllEncodings = UTF8 | UTF16 | UTF32
)

// encodingNames holds each encoding's name at the index of its bit.
var encodingNames = [...]string{"utf8", "utf16", "utf32"}

// ParseEncodings reads a list of names separated by commas, such as "utf8,utf16,utf32". Case does not matter. An empty
// list is an error.
func ParseEncodings(s string) (Encodings, error) {
	var set Encodings
next:
	for name := range strings.SplitSeq(s, ",") {
		for i, known := range encodingNames {
			if strings.EqualFold(strings.TrimSpace(name), known) {
				set |= 1 << i
				continue next
			}
		}
		return 0, fmt.Errorf("encodings %q: unknown encoding %q, want utf8, utf16 or utf32", s, name)
	}
	return set, nil
}

// String returns the names in the form that ParseEncodings parses.
func (e Encodings) String() string {
	var names []string
	for i, name := range encodingNames {
		if e&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// Width returns the number of bytes per character in the widest encoding of e.
func (e Encodings) Width() int {
	switch {
	case e&UTF32 != 0:
		return 4
	case e&UTF16 != 0:
		return 2
	}
	return 1
}
