package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// arrange returns args, a call of the program, with the options of its command moved before the operands, because the
// CLI library accepts them only there. "-" and everything after "--" are operands.
func arrange(app *cli.App, args []string) []string {
	begin, command := 1, (*cli.Command)(nil)
	for cs := app.Commands; begin < len(args); begin++ {
		i := slices.IndexFunc(cs, func(c *cli.Command) bool { return c.HasName(args[begin]) })
		if i < 0 {
			break
		}
		command = cs[i]
		cs = command.Subcommands
	}
	if command == nil {
		return args
	}
	var options, operands []string
	for i := begin; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			operands = append(operands, args[i+1:]...)
			i = len(args)
		case len(arg) < 2 || arg[0] != '-':
			operands = append(operands, arg)
		default:
			options = append(options, arg)
			if !takesNext(command, arg) {
				continue
			}
			if i++; i == len(args) {
				return append(slices.Clip(args[:begin]), options...) // the library reports what is missing
			}
			options = append(options, args[i])
		}
	}
	arranged := append(slices.Clip(args[:begin]), options...)
	if len(operands) > 0 {
		arranged = append(append(arranged, "--"), operands...)
	}
	return arranged
}

// takesNext reports whether the value of an option is in the next argument.
func takesNext(c *cli.Command, arg string) bool {
	name := strings.TrimPrefix(arg[1:], "-")
	i := slices.IndexFunc(c.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
	if i < 0 {
		return false
	}
	d, ok := c.Flags[i].(cli.DocGenerationFlag)
	return ok && d.TakesValue()
}
