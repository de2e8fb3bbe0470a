// Narseal rewrites store-path hashes in NAR streams and reseals the Mach-O
// code signatures that this breaks.
package main

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/urfave/cli/v2"
)

// version is stamped by scripts/release.
var version = "devel"

func main() {
	os.Exit(run(context.Background(), os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program but for the process around it. It returns the
// exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	t := &terminal{stderr: stderr}
	app := newApp(t)
	app.Reader, app.Writer, app.ErrWriter = stdin, stdout, stderr
	return t.finish(guard(ctx, func(ctx context.Context) error {
		return app.RunContext(ctx, args)
	}))
}

func newApp(t *terminal) *cli.App {
	return &cli.App{
		Name:            "narseal",
		Usage:           "rewrite store-path hashes in NAR streams and reseal Mach-O signatures",
		Version:         versionString(),
		HideHelpCommand: true, // see helpCommand
		Suggest:         true,
		// A file's name may hold a comma.
		DisableSliceFlagSeparator: true,
		// The library would print usage errors to stdout and exit by itself.
		OnUsageError:   onUsageError,
		ExitErrHandler: func(*cli.Context, error) {},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return unknownCommand(c)
			}
			return cli.ShowAppHelp(c)
		},
		Commands: commands(t),
	}
}

func commands(t *terminal) []*cli.Command {
	cs := []*cli.Command{
		rewriteCommand(t),
		repairCommand(t),
		verifyCommand(t),
		cacheCommand(t),
		refsCommand(t),
		addressCommand(t),
	}
	cs = append(cs, helpCommand())
	equip(cs)
	return cs
}

// equip gives commands, and theirs, what all of them have.
func equip(cs []*cli.Command) {
	for _, c := range cs {
		c.OnUsageError = onUsageError
		c.HideHelpCommand = true
		c.Before = reportApart
		equip(c.Subcommands)
	}
}

// helpCommand is the library's, but for the status after an unknown name.
func helpCommand() *cli.Command {
	return &cli.Command{
		Name:      "help",
		Aliases:   []string{"h"},
		Usage:     "list the commands, or the options of one",
		ArgsUsage: "[COMMAND]",
		Action: func(c *cli.Context) error {
			name := c.Args().First()
			switch {
			case name == "":
				return cli.ShowAppHelp(c)
			case c.App.Command(name) == nil:
				return unknownCommand(c)
			}
			return cli.ShowCommandHelp(c, name)
		},
	}
}

// Exit statuses.
const (
	statusDone     = 0
	statusError    = 1
	statusUsage    = 2
	statusUnsealed = 3 // a signature does not hold
)

// errUnsealed ends a run that did its work and passed on a signature that
// does not hold, which has been said by then.
var errUnsealed = errors.New("a signature does not hold")

// errFailed ends a run that did what it could and said what it could not do.
var errFailed = errors.New("not everything could be done")
