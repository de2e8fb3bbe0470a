// Package resources checks the files of a bundle against the list that seals them.
//
// The list is _CodeSignature/CodeResources, a property list. It has a digest, the target of a symlink, or a requirement
// on nested code for each sealed file, and rules that say which files have to be sealed:
//
//	files, files2    path from the base of the bundle → what the file must be
//	rules, rules2    regular expression over such paths → whether files are sealed, optional or nested code
//
// The pairs with a 2 are used where they are present. Parse reads a list, and List.Check compares it with the files that
// are there, as Security.framework does (resources.cpp, StaticCode.cpp).
//
// Lists are not trusted. Their size, depth, number of entries and rules are bounded before the parser sees them.
package resources

import (
	"bytes"
	"fmt"
	"strings"

	"narseal/macho"
)

// Bounds of what is parsed. A list of 20,000 files takes about 5 MB.
const (
	// MaxSize is the size of the largest list that is parsed, in bytes.
	MaxSize = 8 << 20
	// maxEntries bounds the files and rules of a list.
	maxEntries = 50_000
	// maxValue is the size of the largest value of one file or rule, in bytes.
	maxValue = 64 << 10
	// maxLevels bounds how deep values lie inside each other. Lists have four levels.
	maxLevels = 16
)

// A List says how the files of a bundle must be.
type List struct {
	files map[string]*seal
	rules []rule
	size  int // instructions of the rules' expressions
}

// seal says how one file must be.
type seal struct {
	hashes      [macho.SHA384 + 1][]byte // by hash type; nil: not used
	link        string
	isLink      bool
	requirement string
	isCode      bool
	optional    bool
}

// Parse reads a list, an XML or binary property list.
func Parse(data []byte) (*List, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("it has %d bytes, more than %d", len(data), MaxSize)
	}
	tables := map[string]map[string]any{}
	entries := 0
	add := func(table, key string, value any) error {
		t := tables[table]
		if key != "" || value != nil {
			if entries++; entries > maxEntries {
				return fmt.Errorf("it has more than %d entries", maxEntries)
			}
			if _, twice := t[key]; twice {
				return fmt.Errorf("%s has %q twice", table, key)
			}
			compact, err := parseValue(table, value)
			if err != nil {
				return fmt.Errorf("%s: %q: %w", table, key, err)
			}
			t[key] = compact
			return nil
		}
		if t != nil {
			return fmt.Errorf("it has %s twice", table)
		}
		tables[table] = map[string]any{}
		return nil
	}
	walk := walkXML
	if bytes.HasPrefix(data, []byte("bplist")) {
		walk = walkBinary
	}
	if err := walk(data, add); err != nil {
		return nil, err
	}
	return newList(tables)
}

// isTable reports whether a key of the list is one that is read.
func isTable(key string) bool {
	switch key {
	case "files", "files2", "rules", "rules2":
		return true
	}
	return false
}

func newList(tables map[string]map[string]any) (*List, error) {
	files, rules := tables["files2"], tables["rules2"]
	if files == nil {
		files = tables["files"]
	}
	if rules == nil {
		rules = tables["rules"]
	}
	if files == nil || rules == nil {
		return nil, fmt.Errorf("it has no files or no rules")
	}
	l := &List{files: make(map[string]*seal, len(files))}
	for path, s := range files {
		l.files[path] = s.(*seal)
	}
	for pattern, r := range rules {
		if err := l.addRule(pattern, r.(rule)); err != nil {
			return nil, fmt.Errorf("rule %.100q: %w", pattern, err)
		}
	}
	return l, nil
}

// parseValue returns the *seal of a file, or the rule without its expression.
func parseValue(table string, value any) (any, error) {
	if strings.HasPrefix(table, "rules") {
		return parseRule(value)
	}
	return parseSeal(value)
}

var hashKeys = map[string]macho.HashType{
	"hash": macho.SHA1, "hash2": macho.SHA256, "hash3": macho.SHA256Truncated, "hash4": macho.SHA384,
}

// digestSizes has the sizes of digests in bytes, by hash type.
var digestSizes = [...]int{macho.SHA1: 20, macho.SHA256: 32, macho.SHA256Truncated: 20, macho.SHA384: 48}

func parseSeal(value any) (*seal, error) {
	s := &seal{}
	if sum, ok := value.([]byte); ok {
		return s, s.setHash(macho.SHA1, sum)
	}
	dict, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("a %T, want data or a dictionary", value)
	}
	hashed := false
	for key, v := range dict {
		var fits bool
		switch key {
		case "hash", "hash2", "hash3", "hash4":
			var sum []byte
			if sum, fits = v.([]byte); fits {
				if err := s.setHash(hashKeys[key], sum); err != nil {
					return nil, err
				}
				hashed = true
			}
		case "symlink":
			s.link, fits = v.(string)
			s.isLink = true
			s.link = strings.Clone(s.link)
		case "requirement":
			s.requirement, fits = v.(string)
			s.isCode = true
			s.requirement = strings.Clone(s.requirement)
		case "optional":
			s.optional, fits = v.(bool)
		default:
			fits = true // cdhash: nobody reads it
		}
		if !fits {
			return nil, fmt.Errorf("%s is a %T", key, v)
		}
	}
	if !hashed && !s.isLink && !s.isCode {
		return nil, fmt.Errorf("it has no digest, no symlink and no requirement")
	}
	return s, nil
}

func (s *seal) setHash(t macho.HashType, sum []byte) error {
	if len(sum) != digestSizes[t] {
		return fmt.Errorf("a digest of %d bytes, want %d for %s", len(sum), digestSizes[t], t)
	}
	s.hashes[t] = bytes.Clone(sum)
	return nil
}
