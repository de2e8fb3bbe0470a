package resources

import (
	"fmt"
	"strconv"
	"strings"
)

// maxRepetitions is RE_DUP_MAX of macOS, the maximum number in an interval.
const maxRepetitions = 255

// escapable lists the characters that have a special meaning in an expression. A backslash before any other character
// is undefined.
const escapable = `.[]()*+?{}|^$\`

// notPOSIX describes the part of an expression that regcomp(3) reads differently from Go, or that IEEE Std 1003.1 does
// not define (chapter 9.4). It returns "" if there is none. Go must have parsed the expression before. An empty group
// is undefined, but Security.framework's own expressions have one (StaticCode.cpp), and with every regcomp it matches
// the empty string.
func notPOSIX(pattern string) string {
	atom := false // a quantifier may follow
	begin := true // an alternative begins
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		quantifier := c == '*' || c == '+' || c == '?' || c == '{'
		isEmpty := c == ')' && begin && i > 0 && pattern[i-1] == '('
		switch {
		case c == 0 || c >= 0x80:
			return "a character that is not ASCII"
		case quantifier && !atom:
			return fmt.Sprintf("%q, which repeats nothing or a repetition", c)
		case (c == '|' || c == ')') && begin && !isEmpty:
			return "an empty alternative"
		case c == '{':
			n := interval(pattern[i:])
			if n == 0 {
				return "an interval of another form than {1}, {1,} or {1,2}, or of more than 255"
			}
			i += n - 1
		case c == '\\':
			if i++; i == len(pattern) || !strings.Contains(escapable, pattern[i:i+1]) {
				return `a \ before anything but ` + escapable
			}
		case c == '[':
			n, why := bracket(pattern[i:])
			if why != "" {
				return why
			}
			i += n - 1
		}
		atom = !quantifier && c != '(' && c != '|' && c != '^' && c != '$' && !isEmpty
		begin = c == '(' || c == '|'
	}
	if begin {
		return "an empty alternative"
	}
	return ""
}

// interval returns the length of the interval at the start of s, or 0.
func interval(s string) int {
	end := strings.IndexByte(s, '}')
	if end < 0 {
		return 0
	}
	low, high, two := strings.Cut(s[1:end], ",")
	from, ok := repetitions(low)
	if !ok {
		return 0
	}
	if to, ok := repetitions(high); two && high != "" && (!ok || to < from) {
		return 0
	}
	return end + 1
}

func repetitions(s string) (n uint64, ok bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return n, err == nil && n <= maxRepetitions
}

// classes lists the character classes of POSIX. For ASCII, those of Go are the same.
var classes = []string{"alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "xdigit"}

// bracket returns the length of the bracket expression at the start of s, or the reason why it is ambiguous.
func bracket(s string) (n int, why string) {
	i := 1
	if strings.HasPrefix(s[i:], "^") {
		i++
	}
	for first := true; i < len(s); first = false {
		switch c := s[i]; {
		case c == ']' && !first:
			return i + 1, ""
		case c == '\\':
			return 0, `a \ in brackets`
		case c == ':' && first:
			return 0, "a class without brackets of its own"
		case c == 0 || c >= 0x80:
			return 0, "a character that is not ASCII"
		case c == '[':
			length := 0
			for _, name := range classes {
				if class := "[:" + name + ":]"; strings.HasPrefix(s[i:], class) {
					length = len(class)
				}
			}
			if length == 0 {
				return 0, "a [ in brackets"
			}
			i += length
		case c == '-' && !first && !strings.HasPrefix(s[i:], "-]"):
			return 0, "a - in brackets that is neither first nor last"
		default:
			i++
			// A range, from one letter or digit to another.
			if strings.HasPrefix(s[i:], "-") && !strings.HasPrefix(s[i:], "-]") {
				if i+1 >= len(s) || !isWord(c) || !isWord(s[i+1]) || c > s[i+1] {
					return 0, "a range in brackets that is not of letters or digits"
				}
				i += 2
			}
		}
	}
	return 0, "brackets without an end"
}

func isWord(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}
