package resources

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"regexp/syntax"
	"strings"
	"sync"
)

const (
	maxRules = 256
	// maxPattern is the maximum length of a rule's expression, in bytes.
	maxPattern = 1024
	// maxInstructions is the maximum size of all expressions of a list together. The expressions that codesign writes
	// have about 500.
	maxInstructions = 4096
)

// rule says how to treat files whose paths match its expression. Of several matching rules, the one with the greatest
// weight is used.
type rule struct {
	match                    func(path string) bool
	isKnown                  bool // match is one of known
	weight                   float64
	omit, optional, isNested bool
}

func parseRule(value any) (rule, error) {
	r := rule{weight: 1}
	if on, ok := value.(bool); ok {
		r.omit = !on
		return r, nil
	}
	dict, ok := value.(map[string]any)
	if !ok {
		return r, fmt.Errorf("a %T, want a boolean or a dictionary", value)
	}
	for key, v := range dict {
		ok := true
		switch key {
		case "weight":
			r.weight, ok = weight(v)
		case "omit":
			r.omit, ok = v.(bool)
		case "optional":
			r.optional, ok = v.(bool)
		case "nested":
			r.isNested, ok = v.(bool)
		}
		if !ok {
			return r, fmt.Errorf("%s is a %T", key, v)
		}
	}
	return r, nil
}

// weight returns a weight. It must be an integer small enough for every reader.
func weight(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, v >= 0 && v <= math.MaxInt32 && v == math.Trunc(v)
	case uint64:
		return float64(v), v <= math.MaxInt32
	}
	return 0, false
}

// addRule adds a rule with a POSIX extended regular expression, which may match anywhere in a path.
func (l *List) addRule(pattern string, r rule) error {
	if len(l.rules) == maxRules {
		return fmt.Errorf("there are more than %d rules", maxRules)
	}
	if len(pattern) > maxPattern {
		return fmt.Errorf("it has more than %d bytes", maxPattern)
	}
	if r.match = known[pattern]; r.match != nil {
		r.isKnown = true
		l.rules = append(l.rules, r)
		return nil
	}
	parsed, err := parseExpression(pattern)
	if err != nil {
		return err
	}
	if l.size += instructions(parsed); l.size > maxInstructions {
		return fmt.Errorf("with it, the expressions take more than %d instructions", maxInstructions)
	}
	if _, err := syntax.Parse(parsed.String(), syntax.Perl); err != nil {
		return err // compiling would return the same error
	}
	r.match = compileLater(parsed)
	l.rules = append(l.rules, r)
	return nil
}

// compileLater compiles an expression on first use. If the comparison would cost too much, it is never compiled.
func compileLater(parsed *syntax.Regexp) func(string) bool {
	compiled := sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(parsed.String()) })
	return func(path string) bool { return compiled().MatchString(path) }
}

// parseExpression parses an extended regular expression. It matches like regcomp(3) without REG_NEWLINE, which treats a
// path as a single line. regexp.CompilePOSIX is like egrep instead: ^ and $ match at every line, and a dot matches no
// newline. Only compiling expands repetitions, not parsing.
func parseExpression(pattern string) (*syntax.Regexp, error) {
	if _, err := syntax.Parse(pattern, syntax.POSIX); err != nil {
		return nil, err
	}
	if why := notPOSIX(pattern); why != "" {
		return nil, errors.New("an expression that Go and POSIX may read differently: " + why)
	}
	return syntax.Parse(pattern, syntax.OneLine|syntax.DotNL|syntax.ClassNL)
}

// instructions returns an upper bound for the size of a compiled expression. It stops counting a little above
// maxInstructions.
func instructions(re *syntax.Regexp) int {
	n := 1 + len(re.Rune)
	for _, sub := range re.Sub {
		n += instructions(sub)
	}
	if re.Op == syntax.OpRepeat {
		n *= 1 + max(re.Min, re.Max)
	}
	return min(n, maxInstructions+1)
}

// isExcluded reports whether a path is never sealed (BundleDiskRep::adjustResources).
func isExcluded(path, executable string) bool {
	return path == "_CodeSignature" || path == "CodeResources" || path == "_MASReceipt" || path == executable
}

// find returns the rule for a path, or nil. clear is false if it is unclear whether the path is sealed.
// Security.framework tries rules of equal weight in undefined order, and matching by characters may find another rule
// than matching by bytes.
func (l *List) find(path string, directory bool) (r *rule, clear bool) {
	r, clear = l.heaviest(path, directory)
	if !clear || isASCII(path) {
		return r, clear
	}
	bytes := make([]rune, len(path))
	for i := range len(path) {
		bytes[i] = rune(path[i])
	}
	other, clear := l.heaviest(string(bytes), directory)
	if r == nil || other == nil {
		return r, clear && r == other
	}
	return r, clear && r.like(other, directory)
}

// heaviest returns the matching rule with the greatest weight.
func (l *List) heaviest(path string, directory bool) (best *rule, clear bool) {
	clear = true
	for i := range l.rules {
		r := &l.rules[i]
		if best != nil && (r.weight < best.weight || r.weight == best.weight && r.like(best, directory)) {
			continue
		}
		if r.match(path) {
			clear = best == nil || r.weight > best.weight
			best = r
		}
	}
	return best, clear
}

// like reports whether two rules treat a directory, or a file, in the same way.
func (r *rule) like(other *rule, directory bool) bool {
	if directory {
		return r.isNested == other.isNested
	}
	return r.omit == other.omit
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// hasDot reports whether the last element of a path has a dot, like the name of a bundle.
func hasDot(path string) bool {
	return strings.Contains(path[strings.LastIndexByte(path, '/')+1:], ".")
}
