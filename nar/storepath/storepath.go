// Package storepath checks Nix store paths: DIR/HASH-NAME, where DIR is the store directory, HASH a hash part of 32
// characters in Nix's base 32, and NAME the name of the contents. HASH-NAME is the base name.
//
// The rules are those of checkName and StorePath in Nix's src/libstore/path.cc, for any store directory. Offsets in
// errors are in bytes, from the start of the string that was checked.
package storepath

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// DefaultDir is the store directory of nearly every Nix installation.
const DefaultDir = "/nix/store"

// Lengths in bytes.
const (
	HashLen     = 32                    // of a hash part
	MaxName     = 211                   // StorePath::MaxPathLen in Nix's src/libstore/path.hh
	MaxBaseName = HashLen + 1 + MaxName // HASH-NAME
	MaxDir      = 4095                  // PATH_MAX without its NUL
)

// HashAlphabet has the characters of a hash part in the order of their values.
const HashAlphabet = "0123456789abcdfghijklmnpqrsvwxyz"

const (
	hashChar = 1 << iota
	nameChar
)

var classes = func() (t [256]uint8) {
	for c := range t {
		if strings.IndexByte(HashAlphabet, byte(c)) >= 0 {
			t[c] |= hashChar
		}
		switch {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', strings.IndexByte("+-._?=", byte(c)) >= 0:
			t[c] |= nameChar
		}
	}
	return t
}()

// IsHashChar reports whether c may stand in a hash part.
func IsHashChar(c byte) bool { return classes[c]&hashChar != 0 }

// IsNameChar reports whether c may stand in a name.
func IsNameChar(c byte) bool { return classes[c]&nameChar != 0 }

// CheckDir returns an error unless dir is an absolute path without a slash at its end, in UTF-8 that can be printed as it
// is: store paths are printed, and written to narinfos, one a line.
func CheckDir(dir string) error {
	unprintable := func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }
	if !strings.HasPrefix(dir, "/") || strings.HasSuffix(dir, "/") || len(dir) > MaxDir || strings.ContainsFunc(dir, unprintable) {
		return fmt.Errorf("store directory %q: want an absolute path of at most %d printable bytes without a slash at its end", clip(dir), MaxDir)
	}
	return nil
}

// CheckHash returns an error unless s is a hash part.
func CheckHash(s string) error {
	if err := checkHashPrefix(s); err != nil {
		return err
	}
	if len(s) > HashLen {
		return fmt.Errorf("hash part has %d characters, want %d", len(s), HashLen)
	}
	return nil
}

// checkHashPrefix returns an error unless s begins with a hash part.
func checkHashPrefix(s string) error {
	for i := range min(len(s), HashLen) {
		if classes[s[i]]&hashChar == 0 {
			return fmt.Errorf("%q at offset %d is not a character of a hash part (0-9 and a-z without e, o, t, u)", s[i:i+1], i)
		}
	}
	if len(s) < HashLen {
		return fmt.Errorf("hash part has %d characters, want %d", len(s), HashLen)
	}
	return nil
}

// CheckBaseName returns an error unless s is a base name HASH-NAME.
func CheckBaseName(s string) error {
	if err := checkHashPrefix(s); err != nil {
		return err
	}
	if len(s) == HashLen {
		return errors.New("want a base name HASH-NAME, got only a hash part")
	}
	if s[HashLen] != '-' {
		return fmt.Errorf("%q at offset %d, want the end or %q after a hash part of %d characters", s[HashLen:HashLen+1], HashLen, "-", HashLen)
	}
	name := s[HashLen+1:]
	if name == "" {
		return errors.New("empty name after the hash part")
	}
	if len(name) > MaxName {
		return fmt.Errorf("name has %d characters, want at most %d", len(name), MaxName)
	}
	if first, _, _ := strings.Cut(name, "-"); first == "." || first == ".." {
		return fmt.Errorf("name %q starts with the component %q", name, first)
	}
	for i := range len(name) {
		if classes[name[i]]&nameChar == 0 {
			return fmt.Errorf("%q at offset %d is not a character of a store path's name", name[i:i+1], HashLen+1+i)
		}
	}
	return nil
}

// Split splits a store path into its store directory and its base name, and checks both.
func Split(path string) (dir, base string, err error) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", "", fmt.Errorf("store path %q: want DIR/HASH-NAME", clip(path))
	}
	dir, base = path[:i], path[i+1:]
	if err := CheckDir(dir); err != nil {
		return "", "", fmt.Errorf("store path %q: %w", clip(path), err)
	}
	if err := CheckBaseName(base); err != nil {
		return "", "", fmt.Errorf("store path %q: %w", clip(path), err)
	}
	return dir, base, nil
}

// BaseIn returns the base name of a store path in the store directory dir.
func BaseIn(dir, path string) (string, error) {
	base, ok := strings.CutPrefix(path, dir+"/")
	if !ok {
		return "", fmt.Errorf("store path %q is not in the store directory %s", clip(path), dir)
	}
	if err := CheckBaseName(base); err != nil {
		return "", fmt.Errorf("store path %q: %w", clip(path), err)
	}
	return base, nil
}

// clip shortens untrusted text for a message.
func clip(s string) string {
	if len(s) > 300 {
		return s[:300] + "…"
	}
	return s
}
