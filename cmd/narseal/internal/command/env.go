// Package command implements the commands. It takes values and streams, not flags, so that it can be used and tested
// without the command line.
package command

import (
	"errors"
	"fmt"
	"io"
	"os"

	"narseal/cmd/narseal/internal/atomicfile"
	"narseal/cmd/narseal/internal/cleanup"
	"narseal/cmd/narseal/internal/sandbox"
	"narseal/cmd/narseal/internal/terminal"
)

// Env is the environment of a command: its streams, terminal and cleanup.
type Env struct {
	Stdin    io.Reader
	Stdout   io.Writer
	Stderr   io.Writer // only for reports; messages go to Terminal
	Terminal *terminal.Terminal
	Cleanup  *cleanup.Registry // may be nil
	// Enforce restricts the process, see Restrict. It is nil if the process must not be restricted, as in tests.
	Enforce func(sandbox.Policy) (sandbox.Status, error)
}

// Errors of commands that have already reported the details.
var (
	// ErrInvalid means that an input or the output has an invalid signature.
	ErrInvalid = errors.New("invalid signature")
	// ErrDenied means that an input has a reference that is not allowed.
	ErrDenied = errors.New("reference not allowed")
	// ErrFailed means that a part of the work failed; the rest is done.
	ErrFailed = errors.New("not everything could be done")
)

// Stream names a stream instead of a file: stdin, stdout, or, for a report, stderr.
const Stream = "-"

// Archive opens the output of a command that writes an archive. "-" means stdout. An empty name also means stdout, but
// is an error if stdout is a terminal.
func (e *Env) Archive(name string) (*atomicfile.Output, error) {
	switch {
	case name == "" && terminal.IsTerminal(e.Stdout):
		return nil, terminal.Usage("redirect it, name a file with -o FILE, or say -o - if this is what you want",
			"output: refusing to write an archive to a terminal")
	case name != "" && name != Stream:
		out, err := atomicfile.Create(e.Cleanup, name)
		if err != nil {
			return nil, fmt.Errorf("output: %w", err)
		}
		return out, nil
	case atomicfile.IsClosed(e.Stdout):
		return nil, terminal.Hint(errors.New("output: stdout is closed"), "name a file with -o FILE; -o "+os.DevNull+" discards the archive")
	}
	return atomicfile.Stream(e.Cleanup, e.Stdout), nil
}

// List returns stdout for a command that prints lines. The lines may share a terminal with the progress line. The
// program ends when the reader of stdout goes away.
func (e *Env) List() io.Writer {
	return e.Terminal.Beside(atomicfile.Stream(e.Cleanup, e.Stdout))
}
