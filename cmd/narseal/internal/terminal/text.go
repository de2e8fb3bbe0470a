package terminal

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Printable returns s for a terminal: unchanged, or quoted if it contains anything that a terminal would interpret.
func Printable(s string) string {
	if IsHarmless(s) {
		return s
	}
	return strconv.Quote(s)
}

// IsHarmless reports whether s is valid UTF-8 and contains nothing that a terminal would interpret.
func IsHarmless(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// Harmless returns s as one line that neither a terminal nor a workflow runner interprets as a command, since names may
// contain any byte.
func Harmless(s string) string {
	if IsHarmless(s) {
		return s
	}
	var b strings.Builder
	for i, w := 0, 0; i < len(s); i += w {
		var r rune
		r, w = utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && w == 1 || !unicode.IsPrint(r) {
			quoted := strconv.Quote(s[i : i+w])
			b.WriteString(quoted[1 : len(quoted)-1])
			continue
		}
		b.WriteString(s[i : i+w])
	}
	return b.String()
}
