package main

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// printable is s for a terminal: as it is, or quoted where it holds what a
// terminal would act on.
func printable(s string) string {
	if isHarmless(s) {
		return s
	}
	return strconv.Quote(s)
}

// isHarmless tells whether s holds nothing that a terminal would act on.
func isHarmless(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}
