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
		HideHelpCommand: false,
		Suggest:         true,
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
	}
	for _, c := range cs {
		c.OnUsageError = onUsageError
		c.HideHelpCommand = true
	}
	return cs
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
