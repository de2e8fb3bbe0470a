package rules

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
)

// maxRuleLine is the maximum length of a line of a rules file, in bytes: two store paths with directories of at most
// PATH_MAX bytes, and a comment.
const maxRuleLine = 16 << 10

// ParseFile reads a rules file with one rule per line: OLD=NEW, or OLD and NEW separated by white space, where OLD and
// NEW are as for Parse. Empty lines are skipped. A "#" at the start of a line or after white space begins a comment. A
// line may end in CR LF. name is the name of the file in errors, which also have the line number. A file without rules
// is not an error here, but Compile refuses an empty list.
func ParseFile(r io.Reader, name string) ([]Rule, error) {
	in := bufio.NewReaderSize(r, rulesPiece)
	var pieces []*piece
	var wg sync.WaitGroup
	var failed atomic.Bool
	var end error
	for end == nil && !failed.Load() {
		var b []byte
		b, end = in.Peek(rulesPiece)
		n := len(b)
		if end != io.EOF {
			n = bytes.LastIndexByte(b, '\n') + 1
		}
		if n == 0 && end == nil {
			end = bufio.ErrTooLong
		}
		p := &piece{text: string(b[:n])}
		if _, err := in.Discard(n); err != nil {
			return nil, err // impossible: the bytes were peeked
		}
		pieces = append(pieces, p)
		wg.Go(func() {
			if p.err = p.parse(); p.err != nil {
				failed.Store(true)
			}
		})
	}
	wg.Wait()
	lines, total := 0, 0
	for _, p := range pieces {
		lines += p.lines
		total += len(p.rules)
		if p.err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, lines, p.err)
		}
	}
	if end != io.EOF {
		return nil, fmt.Errorf("%s:%d: %w", name, lines+1, end)
	}
	rules := make([]Rule, 0, total)
	for _, p := range pieces {
		rules = append(rules, p.rules...)
	}
	return rules, nil
}

// minRuleLine is the length of the shortest line with a rule: two hash parts, "=" and a newline.
const minRuleLine = 2*hashLen + 2

// rulesPiece is the size of the pieces of a rules file that goroutines parse, in bytes.
const rulesPiece = 256 << 10

// piece is a number of complete lines of a rules file.
type piece struct {
	text  string
	lines int // parsed so far
	rules []Rule
	err   error // in the last line that was parsed
}

func (p *piece) parse() error {
	p.rules = make([]Rule, 0, len(p.text)/minRuleLine+1)
	for text := p.text; text != ""; {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		p.lines++
		if len(line) >= maxRuleLine {
			return bufio.ErrTooLong
		}
		rule, ok, err := parseLine(strings.TrimSuffix(line, "\r"))
		if err != nil {
			return err
		}
		if ok {
			p.rules = append(p.rules, rule)
		}
	}
	p.text = ""
	return nil
}

// isWord reports whether a line is one word of printable ASCII and no comment.
func isWord(line string) bool {
	for i := range len(line) {
		if c := line[i]; c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return line != "" && line[0] != '#'
}

// parseLine parses one line of a rules file. ok is false if the line has no rule.
func parseLine(line string) (rule Rule, ok bool, err error) {
	// The fast path: almost every line is one word.
	if isWord(line) {
		rule, err = Parse(line)
		return rule, err == nil, err
	}
	fields := strings.Fields(line)
	for i, f := range fields {
		if f[0] == '#' {
			fields = fields[:i]
			break
		}
	}
	switch len(fields) {
	case 0:
		return Rule{}, false, nil
	case 1:
		rule, err = Parse(fields[0])
	case 2:
		if rule, err = newRule(fields[0], fields[1]); err != nil {
			err = fmt.Errorf("rule %q: %w", fields[0]+" "+fields[1], err)
		}
	default:
		err = fmt.Errorf("got %d words, want OLD=NEW or OLD NEW", len(fields))
	}
	return rule, err == nil, err
}
