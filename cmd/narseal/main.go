// Narseal rewrites store-path hashes in NAR streams and repairs the Mach-O code signatures that this breaks.
package main

import (
	"context"
	"errors"
	"io"
	"log"
	"os"
	"runtime/debug"
	"slices"
	"syscall"

	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/cachestore"
	"narseal/cmd/narseal/internal/cleanup"
	"narseal/cmd/narseal/internal/command"
	"narseal/cmd/narseal/internal/sandbox"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/filter"
)

// version is stamped by scripts/release.
var version = "devel"

// program is the name of the program in messages, regardless of the name of its file.
const program = "narseal"

func main() {
	enforce = sandbox.Restrict
	limitMemory = debug.SetMemoryLimit
	log.SetOutput(io.Discard) // net/http logs data that servers send without a request
	os.Exit(run(context.Background(), os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// run runs the program with these arguments and streams. It returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := newProcess(stdin, stdout, stderr)
	return p.finish(cleanup.Run(ctx, func(ctx context.Context, reg *cleanup.Registry) error {
		p.cleanup = reg
		p.terminal.Mask(cachestore.Secrets(args))
		app := newApp(p, args[min(1, len(args)):])
		return p.finishStdout(app.RunContext(ctx, arrange(app, args)))
	}))
}

// process holds the streams and services that all commands use.
type process struct {
	stdin    io.Reader
	stdout   io.Writer
	checked  *checkedWriter // stdout for writers that ignore errors
	terminal *terminal.Terminal
	cleanup  *cleanup.Registry
}

func newProcess(stdin io.Reader, stdout, stderr io.Writer) *process {
	return &process{stdin: stdin, stdout: stdout, checked: &checkedWriter{Writer: stdout}, terminal: terminal.New(stderr, hintFor)}
}

// finish reports how the run ended, and returns the exit status.
func (p *process) finish(err error) int {
	p.terminal.EndProgress()
	var usage *terminal.UsageError
	var signature *filter.SignatureError
	var stop *cleanup.StopError
	switch {
	case err == nil:
		return statusDone
	case errors.As(err, &stop):
		if stop.Signal != syscall.SIGPIPE {
			p.terminal.Stopped(stop.State())
		}
		return stop.End()
	case err == command.ErrInvalid, err == command.ErrDenied:
		return statusInvalid
	case err == command.ErrFailed:
		return statusError
	case err == errNoCommand:
		return statusUsage
	}
	p.terminal.Error(err)
	switch {
	case errors.As(err, &usage):
		return statusUsage
	case errors.As(err, &signature):
		return statusInvalid
	}
	return statusError
}

// newApp returns the program for a call with these arguments.
func newApp(p *process, args []string) *cli.App {
	return &cli.App{
		Reader: p.stdin, Writer: p.checked, ErrWriter: p.terminal.Stderr(),
		Name:     program,
		HelpName: program,
		Usage:    "rewrite store-path hashes in NAR streams and repair Mach-O signatures",
		Version:  versionString(),
		Description: `Only store-path hashes, and the parts of code signatures that depend on them, change.
Lengths stay the same, and an archive in which nothing matches comes out byte for byte
identical.

  nix-store --dump /nix/store/OLD |
    narseal rewrite --map OLD=NEW |
    nix-store --restore ./new`,
		HideHelpCommand: true, // see helpCommand
		// The name of a file may contain a comma.
		DisableSliceFlagSeparator: true,
		// The library would print usage errors to stdout and exit by itself.
		OnUsageError:   onUsageError,
		ExitErrHandler: func(*cli.Context, error) {},
		Flags:          []cli.Flag{cli.HelpFlag},
		// Reached only by --help with arguments.
		CommandNotFound: func(c *cli.Context, _ string) { showHelp(c.App.Writer, c) },
		Action:          needsCommand,
		Commands:        commands(p, args),
	}
}

// commands returns only the command that args begin with and the help commands, because declaring the options of every
// command would slow down each start. If args neither begin with a command nor ask for the version, it returns all
// commands, for help and for usage errors.
func commands(p *process, args []string) []*cli.Command {
	declared := []struct {
		name    string
		declare func(*process) *cli.Command
	}{
		{"rewrite", rewriteCommand},
		{"repair", repairCommand},
		{"verify", verifyCommand},
		{"cache", cacheCommand},
		{"store", storeCommand},
		{"refs", refsCommand},
		{"address", addressCommand},
	}
	for i, c := range declared {
		if len(args) > 0 && args[0] == c.name {
			declared = declared[i : i+1]
			break
		}
	}
	if slices.Equal(args, []string{"--" + cli.VersionFlag.Names()[0]}) {
		declared = nil
	}
	var cs []*cli.Command
	for _, c := range declared {
		cs = append(cs, c.declare(p))
	}
	cs = append(cs, completionCommand(), helpCommand(), manCommand())
	prepare(cs)
	return cs
}

// Exit statuses.
const (
	statusDone    = 0
	statusError   = 1
	statusUsage   = 2
	statusInvalid = 3 // an invalid signature, or a reference that is not allowed
)
