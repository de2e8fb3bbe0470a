package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"strings"

	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/manual"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/filter/rules"
)

// ruleOptions are the options for rules.
type ruleOptions struct {
	maps, files []string
	encodings   string
}

func (o *ruleOptions) flags() []cli.Flag {
	return []cli.Flag{
		texts(&o.maps, "map m", manual.Rules, "replace a hash, or a base name HASH-NAME: `OLD=NEW`; repeatable"),
		inputFiles{texts(&o.files, "map-file", manual.Rules, "read rules from `FILE`, one rule per line: OLD=NEW or OLD NEW; # starts a comment")},
		encodingsOption(&o.encodings, "replace in text in these `ENCODINGS`; UTF-16 and UTF-32 in both byte orders"),
	}
}

// ruleHint is the hint for a malformed rule.
const ruleHint = "a rule is HASH=NEWHASH or HASH-NAME=NEWHASH-NAME, each side as long as the other; /nix/store/ in front is ignored"

func encodingsOption(to *string, usage string) cli.Flag {
	f := text(to, "encodings", manual.StorePaths, usage)
	f.Value = rules.AllEncodings.String()
	return f
}

// rulesGCPercent is GOGC while rules are read and compiled. Nearly all memory that is allocated then stays in use, so a
// collection frees almost nothing. With 100,000 rules and the default, collections take half of the time.
const rulesGCPercent = 400

// compile reads and compiles the rules. The file "-" is stdin, which must not be the command's input, too.
func (o *ruleOptions) compile(stdin io.Reader, input string) (*rules.Set, error) {
	if len(o.files) > 0 {
		defer debug.SetGCPercent(debug.SetGCPercent(rulesGCPercent))
	}
	var list []rules.Rule
	for _, s := range o.maps {
		r, err := rules.Parse(s)
		if err != nil {
			return nil, terminal.Usage(ruleHint, "--map: %w", err)
		}
		list = append(list, r)
	}
	for _, name := range o.files {
		if name == "-" && input == "-" {
			return nil, terminal.Usage("name the INPUT, or put the rules into a file", "--map-file -: stdin is the input already")
		}
		more, err := readRules(stdin, name)
		if err != nil {
			return nil, err
		}
		if list == nil {
			list = more // the list may be large
		} else {
			list = append(list, more...)
		}
	}
	switch {
	case len(list) > 0:
	case len(o.files) > 0:
		return nil, terminal.Usage("", "--map-file: no rules in %s", strings.Join(o.files, ", "))
	default:
		return nil, terminal.Usage("say --map OLD=NEW, or --map-file FILE", "no rules: nothing to rewrite")
	}
	encodings, err := o.parseEncodings()
	if err != nil {
		return nil, err
	}
	set, err := rules.Compile(list, encodings)
	if err != nil {
		return nil, terminal.Usage("", "rules: %w", err)
	}
	return set, nil
}

func (o *ruleOptions) parseEncodings() (rules.Encodings, error) {
	e, err := rules.ParseEncodings(o.encodings)
	if err != nil {
		return 0, terminal.Usage("", "--encodings: %w", err)
	}
	return e, nil
}

func readRules(stdin io.Reader, name string) ([]rules.Rule, error) {
	r := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("--map-file: %w", err)
		}
		defer f.Close()
		r = f
	}
	list, err := rules.ParseFile(r, name)
	if failed := (*fs.PathError)(nil); errors.As(err, &failed) {
		return nil, fmt.Errorf("--map-file: %w", err)
	}
	if err != nil {
		return nil, terminal.Usage(ruleHint, "--map-file: %w", err)
	}
	return list, nil
}
