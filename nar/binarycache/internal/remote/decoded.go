package remote

import (
	"encoding/base64"
	"html"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unicode/utf16"
)

// These are compiled when they are first needed, not at every start.
var (
	percent = lazily(`%[0-9A-Fa-f]{2}`)
	escape  = lazily(`(\\u[0-9A-Fa-f]{4})+|\\x[0-9A-Fa-f]{2}|\\[0-7]{3}|\\.`)
	base64s = lazily(`[A-Za-z0-9+/_-]{6,}`) // of at least four bytes
)

func lazily(s string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(s) })
}

// maxNested is how many forms are undone that are one inside the other.
const maxNested = 3

// decodings returns what a text says if the forms of URLs, HTML, quoted strings and base 64 in it are undone. A server can write
// every character of a secret in another form, so that the ways to write it cannot be listed.
func decodings(text string) (all []string) {
	add := func(to string) {
		if to != text {
			text, all = to, append(all, to)
		}
	}
	all = unbase64(all, text)
	for range maxNested {
		n := len(all)
		add(percent().ReplaceAllStringFunc(text, func(s string) string { return codes(s[1:], 16) }))
		add(html.UnescapeString(text))
		add(escape().ReplaceAllStringFunc(text, unescape))
		if len(all) == n {
			break
		}
		all = unbase64(all, text)
	}
	return all
}

// codes returns the byte with a number.
func codes(digits string, base int) string {
	n, _ := strconv.ParseUint(digits, base, 16)
	return string([]byte{byte(n)})
}

// unescape returns what a backslash and the characters after it stand for.
func unescape(s string) string {
	switch {
	case len(s) >= 6 && s[1] == 'u':
		var units []uint16
		for unit := range strings.SplitSeq(s[2:], `\u`) {
			n, _ := strconv.ParseUint(unit, 16, 16)
			units = append(units, uint16(n))
		}
		return string(utf16.Decode(units))
	case len(s) == 4 && s[1] == 'x':
		return codes(s[2:], 16)
	case len(s) == 4:
		return codes(s[1:], 8)
	}
	return s[1:]
}

// unbase64 appends what the parts of a text that may be base 64 stand for. One may come right after other text.
func unbase64(all []string, text string) []string {
	for _, run := range base64s().FindAllString(text, -1) {
		run = strings.NewReplacer("-", "+", "_", "/").Replace(run)
		for at := range 4 {
			part := run[at:]
			if len(part)%4 == 1 {
				part = part[:len(part)-1]
			}
			if b, err := base64.RawStdEncoding.DecodeString(part); err == nil {
				all = append(all, string(b))
			}
		}
	}
	return all
}
