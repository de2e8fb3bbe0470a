package rules

import (
	"errors"
	"fmt"
	"strings"

	"narseal/nar/storepath"
)

const (
	hashLen     = storepath.HashLen
	maxBaseName = storepath.MaxBaseName
)

// A Rule replaces From with To. Both are hash parts of 32 characters, or base names HASH-NAME of the same length. See
// Set for where a rule applies.
type Rule struct{ From, To string }

// Parse parses a rule in the form OLD=NEW. Each side is a hash part or a base name. A store directory before it, such
// as "/nix/store/", is dropped. Two different store directories are an error, because store directories are not
// rewritten.
//
// HASH-NAME=NEWHASH-NAME with equal names yields the hash rule HASH=NEWHASH, so that it also applies to the hash
// without the name.
func Parse(s string) (Rule, error) {
	// A name may contain "=" itself, so try each one. If none works, report the error of the first.
	var first error
	for left := 0; ; {
		n := strings.IndexByte(s[left:], '=')
		if n < 0 {
			break
		}
		left += n + 1
		from, to := s[:left-1], s[left:]
		if first != nil && len(baseName(from)) != len(baseName(to)) {
			continue // not a rule; there may be very many of these
		}
		rule, err := newRule(from, to)
		if err == nil {
			return rule, nil
		}
		if first == nil {
			first = err
		}
	}
	if first == nil {
		first = fmt.Errorf("got no %q, want OLD=NEW", "=")
	}
	return Rule{}, fmt.Errorf("rule %q: %w", s, first)
}

// newRule makes a rule from two sides, which may have store directories before them.
func newRule(from, to string) (Rule, error) {
	fromDir, from := splitDir(from)
	toDir, to := splitDir(to)
	if fromDir != toDir && fromDir != "" && toDir != "" {
		return Rule{}, fmt.Errorf("the store directories %q and %q differ, and store directories are not rewritten", fromDir, toDir)
	}
	return Rule{From: from, To: to}.normalize()
}

// HashPart returns the hash part of a store path, which may be given as the whole path, as its base name HASH-NAME or
// as the hash part itself.
func HashPart(s string) (string, error) {
	base := baseName(s)
	if err := checkSide(base); err != nil {
		return "", err
	}
	return base[:hashLen], nil
}

func baseName(s string) string {
	_, base := splitDir(s)
	return base
}

func splitDir(s string) (dir, base string) {
	if strings.IndexByte(s, '/') < 0 { // faster than LastIndexByte
		return "", s
	}
	i := strings.LastIndexByte(s, '/') + 1
	return s[:i], s[i:]
}

// normalize checks a rule. It turns one between base names with equal names into a hash rule.
func (r Rule) normalize() (Rule, error) {
	if err := checkSide(r.From); err != nil {
		return Rule{}, fmt.Errorf("old %q: %w", r.From, err)
	}
	if err := checkSide(r.To); err != nil {
		return Rule{}, fmt.Errorf("new %q: %w", r.To, err)
	}
	if len(r.From) != len(r.To) {
		return Rule{}, fmt.Errorf("lengths differ: old %q has %d characters, new %q has %d",
			r.From, len(r.From), r.To, len(r.To))
	}
	if r.From[hashLen:] == r.To[hashLen:] {
		return Rule{From: r.From[:hashLen], To: r.To[:hashLen]}, nil
	}
	return r, nil
}

// named reports whether a checked rule is between base names.
func (r Rule) named() bool { return len(r.From) > hashLen }

// checkSide returns an error unless s is a hash part or a base name.
func checkSide(s string) error {
	switch len(s) {
	case 0:
		return errors.New("empty, want a hash part of 32 characters or a base name HASH-NAME")
	case hashLen:
		return storepath.CheckHash(s)
	}
	return storepath.CheckBaseName(s)
}
