package cachestore

import (
	"net/url"
	"strings"
)

// Redact returns a URL without the parts that may be secret: user name, password and query. It returns other names
// unchanged.
//
// It allows for passwords that contain an unescaped "/", "?" or "@".
func Redact(name string) string {
	scheme, rest, ok := strings.Cut(name, "://")
	if !ok {
		return name
	}
	if at := strings.IndexAny(rest, "?#"); at >= 0 {
		if strings.Contains(rest[at:], "@") {
			return scheme + "://…" // the query may be the rest of a password
		}
		rest = rest[:at]
	}
	u, err := url.Parse(scheme + "://" + rest)
	if err != nil || u.User != nil || strings.Contains(u.Host, ":") {
		rest = rest[strings.LastIndexByte(rest, '@')+1:]
	}
	return scheme + "://" + rest
}

// Secrets returns arguments for [strings.NewReplacer]: pairs of a text that may be secret, from the URLs in args, and
// its replacement.
func Secrets(args []string) []string {
	var pairs []string
	for _, arg := range args {
		at := strings.Index(arg, "://")
		if at < 0 {
			continue
		}
		for at > 0 && isSchemeByte(arg[at-1]) { // --paths=https://…
			at--
		}
		name := arg[at:]
		pairs = append(pairs, name, Redact(name))
		_, rest, _ := strings.Cut(name, "://")
		rest, query, _ := strings.Cut(rest, "?")
		if user := rest[:strings.LastIndexByte(rest, '@')+1]; user != "" {
			pairs = append(pairs, user, "")
		}
		if query != "" {
			pairs = append(pairs, "?"+query, "")
		}
	}
	return pairs
}

func isSchemeByte(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9'
}
