package main

import (
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/terminal"
)

// The functions in this file declare options. Their parameters are the variable for the value, the names (the long one
// first), the group in the help, and the help text, in which backquotes mark the name of the value.

func text(to *string, names, group, usage string) *cli.StringFlag {
	name, aliases := splitNames(names)
	return &cli.StringFlag{Name: name, Aliases: aliases, Category: group, Usage: usage, Destination: to}
}

// texts declares an option that can be repeated.
func texts(to *[]string, names, group, usage string) *cli.StringSliceFlag {
	name, aliases := splitNames(names)
	return &cli.StringSliceFlag{Name: name, Aliases: aliases, Category: group, Usage: usage,
		Action: func(_ *cli.Context, v []string) error { *to = v; return nil }}
}

func boolean(to *bool, names, group, usage string) *cli.BoolFlag {
	name, aliases := splitNames(names)
	return &cli.BoolFlag{Name: name, Aliases: aliases, Category: group, Usage: usage, Destination: to}
}

func number(to *int, names, group, usage string) *cli.IntFlag {
	name, aliases := splitNames(names)
	return &cli.IntFlag{Name: name, Aliases: aliases, Category: group, Usage: usage, Destination: to}
}

// positive declares a number of at least 1.
func positive(to *int, value int, names, group, usage string) *cli.IntFlag {
	f := number(to, names, group, usage)
	f.Value = value
	f.Action = func(_ *cli.Context, n int) error {
		if n < 1 {
			return terminal.Usage("", "--%s %d: want at least 1", f.Name, n)
		}
		return nil
	}
	return f
}

// size declares a size such as 256MiB, 1G or 4096.
func size(to *int64, value, names, group, usage string) *cli.StringFlag {
	name, aliases := splitNames(names)
	set := func(_ *cli.Context, s string) error {
		n, err := humanize.ParseBytes(s)
		if err != nil || n == 0 || n > 1<<62 {
			return terminal.Usage("sizes look like 64MiB, 1GB or 4096", "--%s %q: not a size", name, s)
		}
		*to = int64(n)
		return nil
	}
	if err := set(nil, value); err != nil {
		panic(err)
	}
	return &cli.StringFlag{Name: name, Aliases: aliases, Category: group, Usage: usage, Value: value, Action: set}
}

// A choiceFlag is an option with a fixed set of values. Any other value is a usage error before the command begins.
type choiceFlag struct {
	cli.StringFlag
	names []string
}

// A value is one value of a choiceFlag, and its name.
type value[T any] struct {
	name string
	is   T
}

// oneOf declares an option with these values. The default is the value called name.
func oneOf[T any](to *T, name string, values []value[T], option, group, usage string) *choiceFlag {
	f := &choiceFlag{StringFlag: cli.StringFlag{Name: option, Category: group, Usage: usage, Value: name}}
	for _, v := range values {
		f.names = append(f.names, v.name)
	}
	f.Action = func(_ *cli.Context, s string) error {
		i := slices.Index(f.names, s)
		if i < 0 {
			last := len(f.names) - 1
			return terminal.Usage("", "--%s %q: want %s or %s", option, s, strings.Join(f.names[:last], ", "), f.names[last])
		}
		*to = values[i].is
		return nil
	}
	if err := f.Action(nil, name); err != nil {
		panic(err)
	}
	return f
}

// words returns the values of a choice whose values are their names. s separates them by bars.
func words(s string) []value[string] {
	var values []value[string]
	for _, w := range strings.Split(s, "|") {
		values = append(values, value[string]{w, w})
	}
	return values
}

// These types mark options that name files, for checkFiles.
type (
	outputFile struct{ *cli.StringFlag }
	inputFile  struct{ *cli.StringFlag }
	inputFiles struct{ *cli.StringSliceFlag }
)

func splitNames(names string) (name string, aliases []string) {
	all := strings.Fields(names)
	return all[0], all[1:]
}

// join concatenates groups of flags.
func join(groups ...[]cli.Flag) []cli.Flag { return slices.Concat(groups...) }
