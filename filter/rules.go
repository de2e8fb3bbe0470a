package filter

import (
	"errors"
	"fmt"
	"strings"
)

const (
	hashLen = 32  // characters of a store path's hash part
	maxName = 211 // most characters of a store path's name (nix StorePath::MaxPathLen)

	// maxBaseName is the length of the longest base name, HASH-NAME.
	maxBaseName = hashLen + 1 + maxName
)

// base32Chars is the alphabet of hash parts, Nix's own base 32.
const base32Chars = "0123456789abcdfghijklmnpqrsvwxyz"

// Classes of a byte in charClass.
const (
	classHash = 1 << iota // may stand in a hash part
	className             // may stand in a store path's name
)

var charClass = func() (t [256]uint8) {
	for c := range t {
		if strings.IndexByte(base32Chars, byte(c)) >= 0 {
			t[c] |= classHash
		}
		switch {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z',
			strings.IndexByte("+-._?=", byte(c)) >= 0:
			t[c] |= className
		}
	}
	return t
}()

// A Rule replaces From by To, which are of equal length: two hash parts of 32
// characters, or two base names HASH-NAME. See Rules for where it applies.
type Rule struct{ From, To string }

// ParseRule reads a rule in the form OLD=NEW. Each side is a hash part or a
// base name, and may stand behind the store folder ("/nix/store/"), which is
// dropped; two different folders are an error, because no folder is rewritten.
//
// HASH-NAME=NEWHASH-NAME with equal names yields the hash rule HASH=NEWHASH, so
// that it also applies where the hash stands without the name.
func ParseRule(s string) (Rule, error) {
	// A name may hold "=" itself, so the right one splits s into a valid rule.
	// Where none does, the first tells what is wrong.
	var first error
	for left := 0; ; {
		n := strings.IndexByte(s[left:], '=')
		if n < 0 {
			break
		}
		left += n + 1
		from, to := s[:left-1], s[left:]
		if first != nil && len(baseName(from)) != len(baseName(to)) {
			continue // no rule; and there may be very many
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

// newRule makes a rule of two sides that may stand behind a folder.
func newRule(from, to string) (Rule, error) {
	fromDir, from := splitFolder(from)
	toDir, to := splitFolder(to)
	if fromDir != toDir && fromDir != "" && toDir != "" {
		return Rule{}, fmt.Errorf("the folders %q and %q differ, and folders are not rewritten", fromDir, toDir)
	}
	return Rule{From: from, To: to}.normalize()
}

// HashPart returns the hash part of a store path, which may be given as the
// whole path, as its base name HASH-NAME or as the hash part itself.
func HashPart(s string) (string, error) {
	base := baseName(s)
	if err := checkBaseName(base); err != nil {
		return "", err
	}
	return base[:hashLen], nil
}

func baseName(s string) string {
	_, base := splitFolder(s)
	return base
}

func splitFolder(s string) (dir, base string) {
	if strings.IndexByte(s, '/') < 0 { // the quicker search
		return "", s
	}
	i := strings.LastIndexByte(s, '/') + 1
	return s[:i], s[i:]
}

// normalize checks a rule and turns one between base names with equal names
// into a hash rule.
func (r Rule) normalize() (Rule, error) {
	if err := checkBaseName(r.From); err != nil {
		return Rule{}, fmt.Errorf("old %q: %w", r.From, err)
	}
	if err := checkBaseName(r.To); err != nil {
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

// checkBaseName reports why s is neither a hash part nor a base name.
func checkBaseName(s string) error {
	if s == "" {
		return errors.New("empty, want a hash part of 32 characters or a base name HASH-NAME")
	}
	for i := range min(len(s), hashLen) {
		if charClass[s[i]]&classHash == 0 {
			return fmt.Errorf("%q at offset %d is not a character of a hash part (0-9 and a-z without e, o, t, u)", s[i:i+1], i)
		}
	}
	if len(s) < hashLen {
		return fmt.Errorf("hash part has %d characters, want %d", len(s), hashLen)
	}
	if len(s) == hashLen {
		return nil
	}
	if s[hashLen] != '-' {
		return fmt.Errorf("%q at offset %d, want the end or %q after a hash part of %d characters", s[hashLen:hashLen+1], hashLen, "-", hashLen)
	}
	return checkName(s[hashLen+1:])
}

// checkName reports why s cannot be a store path's name, by the rules of
// checkName in Nix's libstore.
func checkName(s string) error {
	if s == "" {
		return errors.New("empty name after the hash part")
	}
	if len(s) > maxName {
		return fmt.Errorf("name has %d characters, want at most %d", len(s), maxName)
	}
	if first, _, _ := strings.Cut(s, "-"); first == "." || first == ".." {
		return fmt.Errorf("name %q starts with the component %q", s, first)
	}
	for i := range len(s) {
		if charClass[s[i]]&className == 0 {
			return fmt.Errorf("%q at offset %d is not a character of a store path's name", s[i:i+1], hashLen+1+i)
		}
	}
	return nil
}
