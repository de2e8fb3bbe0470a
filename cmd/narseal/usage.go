package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/manual"
)

// prepare gives commands what is alike in all of them.
func prepare(cs []*cli.Command) {
	for _, c := range cs {
		c.OnUsageError = onUsageError
		c.HideHelpCommand = true
		if len(c.Subcommands) > 0 {
			c.Action = needsCommand
			for _, sub := range c.Subcommands {
				// The library would do so only when it runs c.
				sub.HelpName = program + " " + c.Name + " " + sub.Name
			}
			prepare(c.Subcommands)
			continue
		}
		c.Before = reportApart
		action := c.Action
		c.Action = func(c *cli.Context) error {
			if err := checkArgs(c); err != nil {
				return err
			}
			return action(c)
		}
	}
}

// errNoCommand ends a call without a command, after help was shown.
var errNoCommand = errors.New("no command")

// needsCommand is the action of what does nothing by itself.
func needsCommand(c *cli.Context) error {
	if c.Args().Present() {
		return unknownCommand(c)
	}
	showHelp(c.App.ErrWriter, c)
	return errNoCommand
}

// checkArgs refuses an option that stands behind an INPUT, where the library
// would take it for another one.
func checkArgs(c *cli.Context) error {
	for _, arg := range c.Args().Slice() {
		if len(arg) < 2 || arg[0] != '-' {
			continue
		}
		if _, err := os.Lstat(arg); err != nil {
			return badUsage("a file of that name is ./"+arg, "options such as %s stand before what they apply to", arg)
		}
	}
	return nil
}

// onUsageError says what is wrong with the options, in the library's stead,
// which names them with one dash.
func onUsageError(c *cli.Context, err error, _ bool) error {
	flags := visible(append(slices.Clone(c.Command.Flags), cli.VersionFlag))
	hint := helpHint(c.Command, "options")
	s := err.Error()
	if name, ok := strings.CutPrefix(s, "flag provided but not defined: -"); ok {
		// A name with three dashes comes with one of them.
		name = strings.TrimLeft(name, "-")
		var names []string
		for _, f := range flags {
			names = append(names, f.Names()[0])
		}
		if near := manual.Nearest(name, names); near != "" {
			hint = "did you mean --" + near + "? " + hint
		}
		return badUsage(hint, "unknown option %s", dashed(name))
	}
	if name, ok := strings.CutPrefix(s, "flag needs an argument: -"); ok {
		return badUsage(hint, "option %s needs %s", dashed(name), valueOf(flags, name))
	}
	if arg, ok := strings.CutPrefix(s, "bad flag syntax: "); ok {
		return badUsage(hint, "unknown option %s", arg)
	}
	if value, rest, ok := strings.Cut(strings.TrimPrefix(s, "invalid value "), " for flag -"); ok {
		name, _, _ := strings.Cut(rest, ":")
		return badUsage(hint, "option %s: %s is not a number", dashed(name), value)
	}
	if value, rest, ok := strings.Cut(strings.TrimPrefix(s, "invalid boolean value "), " for -"); ok {
		name, _, _ := strings.Cut(rest, ":")
		return badUsage(hint, "option %s takes no value, got %s", dashed(name), value)
	}
	if names, ok := strings.CutPrefix(s, "Cannot use two forms of the same flag: "); ok {
		one, other, _ := strings.Cut(names, " ")
		return badUsage("write it in the same way each time", "option %s is also given as %s", dashed(one), dashed(other))
	}
	return badUsage(hint, "%w", err)
}

// valueOf is the name of an option's value.
func valueOf(flags []cli.Flag, name string) string {
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			return optionValue(f)
		}
	}
	return "value"
}

// dashed is an option as a user writes it.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// unknownCommand refuses the first argument of a command, or of the program.
func unknownCommand(c *cli.Context) error {
	return noCommand(c.App, c.Command, c.Args().First())
}

// noCommand is the error about a name that is none of a command's, or where
// that is nil of the program's.
func noCommand(app *cli.App, parent *cli.Command, name string) error {
	cs := app.Commands
	if parent != nil && parent.HelpName != app.HelpName {
		cs = parent.Subcommands
	}
	if len(cs) == 0 {
		return badUsage(parent.HelpName+" is called without one", "%s has no commands, got %q", parent.Name, name)
	}
	hint := helpHint(parent, "commands")
	var names []string
	for _, c := range cs {
		if !c.Hidden {
			names = append(names, c.Name)
		}
	}
	if near := manual.Nearest(name, names); near != "" {
		hint = fmt.Sprintf("did you mean %s? %s", near, hint)
	}
	return badUsage(hint, "unknown command %q", name)
}

// helpHint says where a command's options or commands are listed.
func helpHint(c *cli.Command, what string) string {
	call := "narseal help"
	if c != nil {
		if _, names, ok := strings.Cut(c.HelpName, " "); ok {
			call += " " + names
		}
	}
	return call + " lists the " + what
}
