package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/manual"
	"narseal/cmd/narseal/internal/terminal"
)

// prepare sets the fields that are the same for all commands.
func prepare(cs []*cli.Command) {
	for _, c := range cs {
		c.OnUsageError = onUsageError
		c.HideHelpCommand = true
		if len(c.Subcommands) > 0 {
			c.Action = needsCommand
			for _, sub := range c.Subcommands {
				// The library would set it only when it runs c.
				sub.HelpName = program + " " + c.Name + " " + sub.Name
			}
			prepare(c.Subcommands)
			continue
		}
		c.Before = checkFiles
	}
}

// errNoCommand is the error of a call without a command, after help was shown.
var errNoCommand = errors.New("no command")

// needsCommand is the action of commands that only have subcommands.
func needsCommand(c *cli.Context) error {
	if names := c.Args().Slice(); len(names) > 0 {
		if c.App.Command("help").HasName(names[0]) {
			return helpOf(c.App, append(strings.Fields(c.Command.HelpName)[1:], names[1:]...))
		}
		return unknownCommand(c)
	}
	showHelp(c.App.ErrWriter, c)
	return errNoCommand
}

// onUsageError rewrites the library's errors about options, which write every option with a single dash.
func onUsageError(c *cli.Context, err error, _ bool) error {
	flags := visible(append(slices.Clone(c.Command.Flags), cli.VersionFlag))
	hint := helpHint(c.Command, "options")
	s := err.Error()
	if name, ok := strings.CutPrefix(s, "flag provided but not defined: -"); ok {
		// An option with three dashes comes with one of them in its name.
		name = strings.TrimLeft(name, "-")
		for _, file := range []string{"-" + name, "--" + name} {
			if _, err := os.Lstat(file); err == nil {
				return terminal.Usage("the file of that name is ./"+file, "unknown option %s", dashed(name))
			}
		}
		var names []string
		for _, f := range flags {
			names = append(names, f.Names()[0])
		}
		if near := manual.Nearest(name, names); near != "" {
			hint = "did you mean --" + near + "? " + hint
		}
		return terminal.Usage(hint, "unknown option %s", dashed(name))
	}
	if name, ok := strings.CutPrefix(s, "flag needs an argument: -"); ok {
		return terminal.Usage(hint, "option %s needs %s", dashed(name), valueOf(flags, name))
	}
	if arg, ok := strings.CutPrefix(s, "bad flag syntax: "); ok {
		return terminal.Usage(hint, "unknown option %s", arg)
	}
	if value, rest, ok := strings.Cut(strings.TrimPrefix(s, "invalid value "), " for flag -"); ok {
		name, _, _ := strings.Cut(rest, ":")
		return terminal.Usage(hint, "option %s: %s is not a number", dashed(name), value)
	}
	if value, rest, ok := strings.Cut(strings.TrimPrefix(s, "invalid boolean value "), " for -"); ok {
		name, _, _ := strings.Cut(rest, ":")
		return terminal.Usage(hint, "option %s takes no value, got %s", dashed(name), value)
	}
	if names, ok := strings.CutPrefix(s, "Cannot use two forms of the same flag: "); ok {
		one, other, _ := strings.Cut(names, " ")
		return terminal.Usage("write it in the same way each time", "option %s is also given as %s", dashed(one), dashed(other))
	}
	return terminal.Usage(hint, "%w", err)
}

// valueOf returns the name of an option's value.
func valueOf(flags []cli.Flag, name string) string {
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			return optionValue(f)
		}
	}
	return "value"
}

// dashed returns an option with its dashes.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// unknownCommand returns the error about the first argument of a command, or of the program, that is not a subcommand.
func unknownCommand(c *cli.Context) error {
	return noCommand(c.App, c.Command, c.Args().First())
}

// noCommand returns the error about a name that is not a subcommand of parent, or of the program if parent is nil.
func noCommand(app *cli.App, parent *cli.Command, name string) error {
	cs := app.Commands
	if parent != nil && parent.HelpName != app.HelpName {
		cs = parent.Subcommands
	}
	if len(cs) == 0 {
		return terminal.Usage(parent.HelpName+" is called without one", "%s has no commands, got %q", parent.Name, name)
	}
	hint := helpHint(parent, "commands")
	var names []string
	for _, c := range cs {
		if !c.Hidden {
			names = append(names, c.Name)
		}
	}
	if name == cli.VersionFlag.Names()[0] {
		hint = "narseal --version shows it"
	} else if near := manual.Nearest(name, names); near != "" {
		hint = fmt.Sprintf("did you mean %s? %s", near, hint)
	}
	return terminal.Usage(hint, "unknown command %q", name)
}

// helpHint returns the hint that names the help of a command.
func helpHint(c *cli.Command, what string) string {
	call := "narseal help"
	if c != nil {
		if _, names, ok := strings.Cut(c.HelpName, " "); ok {
			call += " " + names
		}
	}
	return call + " lists the " + what
}
