// Package resources checks the files of a bundle against the list that seals them.
//
// The list is _CodeSignature/CodeResources, a property list. For each sealed file it has a digest, the target of a
// symlink, or a requirement on nested code. Its rules say which files must be sealed:
//
//	files, files2    path from the base of the bundle → what the file must be
//	rules, rules2    regular expression over such paths → whether files are sealed, optional or nested code
//
// If there is files2, it is used with rules2, otherwise files with rules. Parse parses a list, and List.Check compares
// it with the files of the bundle, as Security.framework does (resources.cpp, StaticCode.cpp). Parse returns an error
// for lists that the framework may read differently.
//
// Lists are not trusted. Their size, depth, and number of entries and rules are checked before they are parsed.
package resources

import (
	"bytes"
	"fmt"
	"strings"

	"narseal/macho"
)

// Limits for lists. A list of 20,000 files has about 5 MB.
const (
	// MaxSize is the size of the largest list that is parsed, in bytes.
	MaxSize = 8 << 20
	// maxEntries is the maximum number of files and rules of a list.
	maxEntries = 50_000
	// maxValue is the size of the largest value of one file or rule, in bytes.
	maxValue = 64 << 10
	// maxLevels is the maximum number of levels of nested values. Lists have four levels.
	maxLevels = 16
)

// A List is a parsed CodeResources: the seals of a bundle's files, and its rules.
type List struct {
	files map[string]*seal
	rules []rule
	size  int  // number of instructions of the rules' expressions
	old   bool // the list is of the first version, with files and rules
}

// seal describes what one file must be. It is compact, since a list may have 50,000 seals.
type seal struct {
	sums                     []byte // digests, in the order of hash types
	types                    uint8  // a bit for each hash type in sums
	isLink, isCode, optional bool
	text                     string // the target of a symlink, or a requirement
}

// each calls f for each digest.
func (s *seal) each(f func(t macho.HashType, sum []byte)) {
	sums := s.sums
	for t, size := range digestSizes {
		if s.types&(1<<t) != 0 {
			f(macho.HashType(t), sums[:size])
			sums = sums[size:]
		}
	}
}

// Parse parses a list, which is an XML or binary property list.
func Parse(data []byte) (*List, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("it has %d bytes, more than %d", len(data), MaxSize)
	}
	garbage.begin()
	defer garbage.end()
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
			if entries%collectAfter == 0 {
				collectGarbage()
			}
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

// isTable reports whether key is the key of a table.
func isTable(key string) bool {
	switch key {
	case "files", "files2", "rules", "rules2":
		return true
	}
	return false
}

// newList makes a List from the tables of one version (SecStaticCode::loadResources).
func newList(tables map[string]map[string]any) (*List, error) {
	files, rules := tables["files2"], tables["rules2"]
	old := files == nil
	if old {
		files, rules = tables["files"], tables["rules"]
	}
	if files == nil || rules == nil {
		return nil, fmt.Errorf("it has no files or no rules")
	}
	l := &List{files: make(map[string]*seal, len(files)), old: old}
	for path, s := range files {
		l.files[path] = s.(*seal)
		delete(files, path)
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

// digestSizes holds the sizes of digests in bytes, by hash type.
var digestSizes = [...]int{macho.SHA1: 20, macho.SHA256: 32, macho.SHA256Truncated: 20, macho.SHA384: 48}

func parseSeal(value any) (*seal, error) {
	s := &seal{}
	if sum, ok := value.([]byte); ok {
		return s, s.setHashes(map[string]any{"hash": sum})
	}
	dict, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("a %T, want data or a dictionary", value)
	}
	for key, v := range dict {
		fits := true
		switch key {
		case "hash", "hash2", "hash3", "hash4":
			_, fits = v.([]byte)
		case "symlink", "requirement":
			_, fits = v.(string)
		case "optional":
			s.optional, fits = v.(bool)
		}
		// cdhash is ignored, as by Security.framework.
		if !fits {
			return nil, fmt.Errorf("%s is a %T", key, v)
		}
	}
	requirement, isCode := dict["requirement"].(string)
	link, isLink := dict["symlink"].(string)
	s.isCode, s.isLink = isCode, isLink
	switch { // for nested code, only the requirement counts
	case isCode:
		s.text = strings.Clone(requirement)
	case isLink:
		s.text = strings.Clone(link)
	}
	if err := s.setHashes(dict); err != nil {
		return nil, err
	}
	if s.types == 0 && !s.isLink && !s.isCode {
		return nil, fmt.Errorf("it has no digest, no symlink and no requirement")
	}
	return s, nil
}

// hashKeys maps the names of digests to hash types, and hashNames hash types to names.
var (
	hashKeys = map[string]macho.HashType{
		"hash": macho.SHA1, "hash2": macho.SHA256, "hash3": macho.SHA256Truncated, "hash4": macho.SHA384,
	}
	hashNames = [...]string{macho.SHA1: "hash", macho.SHA256: "hash2", macho.SHA256Truncated: "hash3", macho.SHA384: "hash4"}
)

// setHashes copies the digests of a dictionary.
func (s *seal) setHashes(dict map[string]any) error {
	n := 0
	for t, key := range hashNames {
		sum, ok := dict[key].([]byte)
		if ok && len(sum) != digestSizes[t] {
			return fmt.Errorf("a digest of %d bytes, want %d for %s", len(sum), digestSizes[t], macho.HashType(t))
		}
		n += len(sum)
	}
	s.sums = make([]byte, 0, n)
	for t, key := range hashNames {
		if sum, ok := dict[key].([]byte); ok {
			s.sums = append(s.sums, sum...)
			s.types |= 1 << t
		}
	}
	return nil
}
