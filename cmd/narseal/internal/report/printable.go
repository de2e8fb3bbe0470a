package report

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Printable returns s for a terminal: as it is, or quoted if a terminal would act on something in it.
func Printable(s string) string {
	if isHarmless(s) {
		return s
	}
	return strconv.Quote(s)
}

// isHarmless tells whether s holds nothing that a terminal would act on.
func isHarmless(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// harmless returns s as one line in which a terminal, and what reads the logs of a workflow, finds no command: names may
// hold any byte.
func harmless(s string) string {
	if isHarmless(s) {
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
