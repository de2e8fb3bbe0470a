// Narseal rewrites store-path hashes in NAR streams and reseals the Mach-O
// code signatures that this breaks.
package main

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/cleanup"
	"narseal/cmd/narseal/internal/command"
	"narseal/cmd/narseal/internal/sandbox"
	ui "narseal/cmd/narseal/internal/terminal"
	"narseal/filter"
)

// version is stamped by scripts/release.
var version = "devel"

// program is what users call the program, whatever its file is called.
const program = "narseal"

func main() {
	enforce = sandbox.Restrict
	os.Exit(run(context.Background(), os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program but for the process around it. It returns the
// exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	t := &terminal{stderr: stderr}
	app := newApp(t)
	app.Reader, app.Writer, app.ErrWriter = stdin, stdout, t.base().Stderr()
	return finish(t, cleanup.Run(ctx, func(ctx context.Context, reg *cleanup.Registry) error {
		return app.RunContext(context.WithValue(ctx, exitsKey{}, reg), args)
	}))
}

// finish reports how the run ended, and returns the exit status.
func finish(t *terminal, err error) int {
	t.EndProgress()
	var usage *ui.UsageError
	var sealErr *filter.SignatureError
	var stop *cleanup.StopError
	switch {
	case err == nil:
		return statusDone
	case errors.As(err, &stop):
		return stop.End()
	case err == errUnsealed, err == errDenied:
		return statusUnsealed
	case err == errFailed:
		return statusError
	case err == errNoCommand:
		return statusUsage
	}
	t.fail(err)
	switch {
	case errors.As(err, &usage):
		return statusUsage
	case errors.As(err, &sealErr):
		return statusUnsealed
	}
	return statusError
}

func newApp(t *terminal) *cli.App {
	return &cli.App{
		Name:     program,
		HelpName: program,
		Usage:    "rewrite store-path hashes in NAR streams and reseal Mach-O signatures",
		Version:  versionString(),
		Description: `Nothing but the hashes, and the page hashes of the signatures over them, changes:
lengths stay, and an archive in which nothing matches comes out byte for byte
the same.

  nix-store --dump /nix/store/OLD |
    narseal rewrite --map OLD=NEW |
    nix-store --restore ./new`,
		HideHelpCommand: true, // see helpCommand
		// A file's name may hold a comma.
		DisableSliceFlagSeparator: true,
		// The library would print usage errors to stdout and exit by itself.
		OnUsageError:   onUsageError,
		ExitErrHandler: func(*cli.Context, error) {},
		Flags:          []cli.Flag{cli.HelpFlag},
		// Not reached but by --help with arguments.
		CommandNotFound: func(c *cli.Context, _ string) { showHelp(c.App.Writer, c) },
		Action:          needsCommand,
		Commands:        commands(t),
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
	cs = append(cs, completionCommand(), helpCommand(), manCommand())
	prepare(cs)
	return cs
}

// Exit statuses.
const (
	statusDone     = 0
	statusError    = 1
	statusUsage    = 2
	statusUnsealed = 3 // a signature does not hold
)

// How a run may end after it has reported everything itself.
var (
	errUnsealed = command.ErrInvalid
	errDenied   = command.ErrDenied
	errFailed   = command.ErrFailed
)

// newEnv returns what a command has of the world around it.
func newEnv(c *cli.Context, t *terminal) *command.Env {
	return &command.Env{
		Stdin: c.App.Reader, Stdout: c.App.Writer, Stderr: c.App.ErrWriter, Terminal: t.base(), Cleanup: exitsOf(c.Context).Registry,
		Enforce: enforcer(c),
	}
}
