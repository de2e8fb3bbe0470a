// Package spelling compares paths as the file systems of macOS do. It assumes that two paths are the same file if HFS+ or
// APFS may do so.
package spelling

import (
	"hash/maphash"
	"iter"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// A Path is the spelling of a path. Both file systems ignore case and the form of Unicode, and HFS+ ignores some
// characters. Two paths with the same spelling may be the same file.
type Path struct {
	letters string
	marks   []accent // a buffer for Matches
}

// Of returns the spelling of a path.
func Of(path string) *Path {
	s := &Path{}
	var b strings.Builder
	for r := range letters(path, &s.marks) {
		b.WriteRune(r)
	}
	s.letters = b.String()
	return s
}

// Matches reports whether a path has this spelling. It reads the path only up to the first difference.
func (s *Path) Matches(path string) bool {
	left := s.letters
	for r := range letters(path, &s.marks) {
		want, size := utf8.DecodeRuneInString(left)
		if want != r || size == 0 {
			return false
		}
		left = left[size:]
	}
	return left == ""
}

// A Hash is the same for all paths with the same spelling, in this process, and most likely another one for any other path.
// It is never zero.
type Hash uint64

var seed = maphash.MakeSeed()

// HashOf returns the Hash of a path.
func HashOf(path string) Hash {
	buffer := make([]byte, 0, 512) // on the stack
	plain := true
	for i := 0; i < len(path) && plain; i++ {
		plain = path[i] < utf8.RuneSelf
		buffer = append(buffer, byte(withoutCase(rune(path[i]))))
	}
	if !plain {
		buffer = buffer[:0]
		var marks []accent
		for r := range letters(path, &marks) {
			buffer = utf8.AppendRune(buffer, r)
		}
	}
	return Hash(max(1, maphash.Bytes(seed, buffer)))
}

// An accent is a mark that combines with the character before it. Accents are sorted by class.
type accent struct {
	r     rune
	class uint8
}

func compareAccents(a, b accent) int { return int(a.class) - int(b.class) }

// isIgnored reports whether HFS+ ignores a character.
func isIgnored(r rune) bool {
	return 0x200c <= r && r <= 0x200f || 0x202a <= r && r <= 0x202e || 0x206a <= r && r <= 0x206f || r == 0xfeff
}

// noText is the first of 256 characters that represent bytes that are not UTF-8. They are not used in texts.
const noText = 0x10ff00

// letters yields the characters of the spelling of a path: its canonical decomposition without case. It collects the
// marks since the last other character in a buffer.
func letters(path string, marks *[]accent) iter.Seq[rune] {
	return func(yield func(rune) bool) {
		*marks = (*marks)[:0]
		one := func(r rune, class uint8) bool {
			if class > 0 {
				*marks = append(*marks, accent{r, class})
				return true
			}
			if !slices.IsSortedFunc(*marks, compareAccents) {
				slices.SortStableFunc(*marks, compareAccents)
			}
			for _, m := range *marks {
				if m.r == '\u0345' { // the only mark with a case, an iota
					m.r = withoutCase(m.r)
				}
				if !yield(m.r) {
					return false
				}
			}
			*marks = (*marks)[:0]
			if r < utf8.RuneSelf {
				return r < 0 || yield(withoutCase(r))
			}
			if several, ok := ligatures[r]; ok {
				for _, r := range several {
					if !yield(r) {
						return false
					}
				}
				return true
			}
			return yield(withoutCase(r))
		}
		for i := 0; i < len(path); {
			if c := path[i]; c < utf8.RuneSelf {
				if !one(rune(c), 0) {
					return
				}
				i++
				continue
			}
			r, size := utf8.DecodeRuneInString(path[i:])
			text := path[i : i+size]
			i += size
			if r == utf8.RuneError && size == 1 {
				r = noText + rune(text[0]) // equal to itself only
			}
			ok := true
			switch p := norm.NFD.PropertiesString(text); {
			case isIgnored(r):
			case p.Decomposition() != nil:
				for d := p.Decomposition(); len(d) > 0 && ok; {
					r, size := utf8.DecodeRune(d)
					ok = one(r, norm.NFD.Properties(d[:size]).CCC())
					d = d[size:]
				}
			case isHangul(r):
				ok = hangul(r, func(r rune) bool { return one(r, 0) })
			default:
				ok = one(r, p.CCC())
			}
			if !ok {
				return
			}
		}
		one(-1, 0)
	}
}

// ligatures holds the characters that APFS folds to several characters.
var ligatures = map[rune]string{
	'\u00df': "SS", '\u1e9e': "SS", '\u0149': "\u02bcN", '\u0587': "\u0535\u0552", '\ufb00': "FF", '\ufb01': "FI", '\ufb02': "FL",
	'\ufb03': "FFI", '\ufb04': "FFL", '\ufb05': "ST", '\ufb06': "ST", '\ufb13': "\u0544\u0546", '\ufb14': "\u0544\u0535",
	'\ufb15': "\u0544\u053b", '\ufb16': "\u054e\u0546", '\ufb17': "\u0544\u053d",
}

// Syllables of Hangul, which are decomposed by a rule.
const (
	firstSyllable, syllables = 0xac00, 11172
	firstL, firstV, firstT   = 0x1100, 0x1161, 0x11a7
	vowels, finals           = 21, 28
)

func isHangul(r rune) bool { return firstSyllable <= r && r < firstSyllable+syllables }

func hangul(r rune, yield func(rune) bool) bool {
	r -= firstSyllable
	return yield(firstL+r/(vowels*finals)) && yield(firstV+r/finals%vowels) && (r%finals == 0 || yield(firstT+r%finals))
}

// withoutCase returns the lowest of the characters that differ from r only in case.
func withoutCase(r rune) rune {
	if r < utf8.RuneSelf {
		if 'a' <= r && r <= 'z' {
			r -= 'a' - 'A'
		}
		return r
	}
	first := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		first = min(first, f)
	}
	return first
}

// A Table holds names of ASCII.
type Table struct {
	names   map[string]string // by spelling; an empty string for what one begins with
	longest int
}

// NewTable returns a table of these names.
func NewTable(names ...string) *Table {
	t := &Table{names: map[string]string{}}
	for _, name := range names {
		letters := Of(name).letters
		for n := range letters {
			if begin := letters[:n]; t.names[begin] == "" {
				t.names[begin] = ""
			}
		}
		t.names[letters] = name
		t.longest = max(t.longest, len(letters))
	}
	return t
}

// Name returns the name with the spelling of a path, or "". Characters that have a decomposition have no letters of ASCII
// alone in it, so that they are in no name.
func (t *Table) Name(path string) string {
	text := make([]byte, 0, 64)
	for _, r := range path {
		if isIgnored(r) {
			continue
		}
		several := ligatures[r]
		if first := withoutCase(r); first < utf8.RuneSelf {
			several = string(first)
		}
		if text = append(text, several...); several == "" || len(text) > t.longest {
			return ""
		}
		if _, begins := t.names[string(text)]; !begins {
			return ""
		}
	}
	return t.names[string(text)]
}
