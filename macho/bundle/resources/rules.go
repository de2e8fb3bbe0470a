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
	// maxPattern bounds the length of a rule's expression in bytes.
	maxPattern = 1024
	// maxInstructions bounds the sizes of all expressions of a list. The expressions that codesign writes take about 500.
	maxInstructions = 4096
)

// rule says how to treat files whose path its expression matches. The rule with the greatest weight counts.
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

// weight reads a weight. It is an integer, of a size that every reader takes.
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
		return err // as compiling would
	}
	r.match = compileLater(parsed)
	l.rules = append(l.rules, r)
	return nil
}

// compileLater compiles an expression when it is first needed: a list whose comparison costs too much is not compared.
func compileLater(parsed *syntax.Regexp) func(string) bool {
	compiled := sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(parsed.String()) })
	return func(path string) bool { return compiled().MatchString(path) }
}

// parseExpression parses an extended regular expression. With regexp.CompilePOSIX, ^ and $ would match at every line,
// and a dot would not match a newline, as in egrep. regcomp(3) without REG_NEWLINE matches a path as a whole. Parsing
// does not expand repetitions; compiling does.
func parseExpression(pattern string) (*syntax.Regexp, error) {
	if _, err := syntax.Parse(pattern, syntax.POSIX); err != nil {
		return nil, err
	}
	if why := notPOSIX(pattern); why != "" {
		return nil, errors.New("an expression that Go and POSIX may read differently: " + why)
	}
	return syntax.Parse(pattern, syntax.OneLine|syntax.DotNL|syntax.ClassNL)
}

// instructions returns an upper bound of the size of a compiled expression, or a little more than maxInstructions.
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

// find returns the rule for a path, or nil. clear is false if the list does not say clearly whether the path is sealed:
// Security.framework looks at rules of one weight in no order, and a reader of characters may find another rule than one
// of bytes.
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

// heaviest returns the rule with the greatest weight that matches.
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

// like reports whether two rules say the same of a directory, or of anything else.
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

// hasDot reports whether the last element of a path has a dot, as the name of a bundle does.
func hasDot(path string) bool {
	return strings.Contains(path[strings.LastIndexByte(path, '/')+1:], ".")
}
