package manual

import (
	"slices"

	"github.com/xrash/smetrics"
)

// Nearest returns the name that is most similar to given, or "" if none is similar.
func Nearest(given string, names []string) string {
	best, near := 0.7, ""
	for _, n := range names {
		likeness := smetrics.JaroWinkler(given, n, 0.7, 4)
		if sorted(given) == sorted(n) {
			likeness = 1 // only the order of letters differs
		}
		if likeness > best {
			best, near = likeness, n
		}
	}
	return near
}

func sorted(s string) string {
	b := []byte(s)
	slices.Sort(b)
	return string(b)
}
