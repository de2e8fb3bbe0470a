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

// program is what users call the program, whatever its file is called.
const program = "narseal"

func main() {
	enforce = sandbox.Restrict
	limitMemory = debug.SetMemoryLimit
	log.SetOutput(io.Discard) // net/http quotes there what servers send unasked
	os.Exit(run(context.Background(), os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program but for the process around it. It returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := newProcess(stdin, stdout, stderr)
	return p.finish(cleanup.Run(ctx, func(ctx context.Context, reg *cleanup.Registry) error {
		p.cleanup = reg
		p.terminal.Mask(cachestore.Secrets(args))
		app := newApp(p, args[min(1, len(args)):])
		return p.finishStdout(app.RunContext(ctx, arrange(app, args)))
	}))
}

// process is what the commands have of the process around them.
type process struct {
	stdin    io.Reader
	stdout   io.Writer
	checked  *checkedWriter // stdout for what does not look at errors
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
		// A file's name may hold a comma.
		DisableSliceFlagSeparator: true,
		// The library would print usage errors to stdout and exit by itself.
		OnUsageError:   onUsageError,
		ExitErrHandler: func(*cli.Context, error) {},
		Flags:          []cli.Flag{cli.HelpFlag},
		// Not reached but by --help with arguments.
		CommandNotFound: func(c *cli.Context, _ string) { showHelp(c.App.Writer, c) },
		Action:          needsCommand,
		Commands:        commands(p, args),
	}
}

// commands returns the command that args begin with and those that help with all. If args do not begin with a command,
// nor ask for the version, it returns all: the user asks for help or mistypes. Declaring the options of every command
// would delay each start.
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
