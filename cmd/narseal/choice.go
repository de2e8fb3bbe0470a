package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// choiceFlag is an option whose value is one of a few. Any other is a usage
// error before the command begins.
type choiceFlag struct {
	cli.StringFlag
	values []string
}

// choice makes an option whose values are separated by bars, as help shows
// them.
func choice(name, def, values, usage string) *choiceFlag {
	f := &choiceFlag{cli.StringFlag{Name: name, Value: def, Usage: usage}, strings.Split(values, "|")}
	f.Action = func(_ *cli.Context, v string) error {
		if slices.Contains(f.values, v) {
			return nil
		}
		last := len(f.values) - 1
		return badUsage("", "--%s %q: want %s or %s", name, v, strings.Join(f.values[:last], ", "), f.values[last])
	}
	return f
}
