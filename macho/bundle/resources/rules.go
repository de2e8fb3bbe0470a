package resources

import (
	"fmt"
	"math"
	"regexp"
	"regexp/syntax"
	"strings"
)

const (
	maxRules = 256
	// maxPattern bounds the length of a rule's expression in bytes.
	maxPattern = 1024
)

// rule says what files are whose path its expression matches. The rule of the greatest weight counts.
type rule struct {
	match                    *regexp.Regexp
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

// weight reads a weight as Security.framework does, without its fraction.
func weight(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return math.Trunc(v), v >= 0 && v <= math.MaxUint32
	case uint64:
		return float64(v), v <= math.MaxUint32
	}
	return 0, false
}

// addRule adds a rule with an extended regular expression of POSIX, which may match anywhere in a path.
func (l *List) addRule(pattern string, r rule) error {
	if len(l.rules) == maxRules {
		return fmt.Errorf("there are more than %d rules", maxRules)
	}
	if len(pattern) > maxPattern {
		return fmt.Errorf("it has more than %d bytes", maxPattern)
	}
	var err error
	if r.match, err = compile(pattern); err != nil {
		return err
	}
	l.rules = append(l.rules, r)
	return nil
}

// compile compiles an extended regular expression. regexp.CompilePOSIX would have ^ and $ match at every line, and no dot
// match a newline, as in egrep. regcomp(3) without REG_NEWLINE takes a path as a whole.
func compile(pattern string) (*regexp.Regexp, error) {
	if _, err := regexp.CompilePOSIX(pattern); err != nil {
		return nil, err
	}
	parsed, err := syntax.Parse(pattern, syntax.OneLine|syntax.DotNL|syntax.ClassNL)
	if err != nil {
		return nil, err
	}
	return regexp.Compile(parsed.String())
}

// excluded are names in the base of a bundle that are never sealed (BundleDiskRep::adjustResources).
func isExcluded(path, executable string) bool {
	return path == "_CodeSignature" || path == "CodeResources" || path == "_MASReceipt" || path == executable
}

// find returns the rule for a path, or nil. Of two rules of one weight the one counts that seals more.
func (l *List) find(path string) *rule {
	var best *rule
	for i := range l.rules {
		r := &l.rules[i]
		if best != nil && (r.weight < best.weight || r.weight == best.weight && (r.omit || !best.omit)) {
			continue
		}
		if r.match.MatchString(path) {
			best = r
		}
	}
	return best
}

// hasDot reports whether the last name of a path has a dot, as that of a bundle has.
func hasDot(path string) bool {
	return strings.Contains(path[strings.LastIndexByte(path, '/')+1:], ".")
}
