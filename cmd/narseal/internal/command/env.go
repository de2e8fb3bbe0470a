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

// Env is what a command has of the world around it.
type Env struct {
	Stdin    io.Reader
	Stdout   io.Writer
	Stderr   io.Writer // for a report that is to go there; messages go to Terminal
	Terminal *terminal.Terminal
	Cleanup  *cleanup.Registry // may be nil
	// Enforce restricts the process, see Restrict. It is nil if the process does not belong to the command alone.
	Enforce func(sandbox.Policy) (sandbox.Status, error)
}

// How a command may end after it has reported everything itself.
var (
	// ErrInvalid says that there is an invalid signature: found, or in the output.
	ErrInvalid = errors.New("invalid signature")
	// ErrDenied says that there is a reference that is not allowed.
	ErrDenied = errors.New("reference not allowed")
	// ErrFailed says that something could not be done; the rest is.
	ErrFailed = errors.New("not everything could be done")
)

// Stream is the name of a stream in place of a file: stdin, stdout, or for a report stderr.
const Stream = "-"

// Archive opens the output of a command that writes an archive. An empty name is stdout unless that is a terminal,
// "-" is stdout.
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

// List returns stdout for a command that prints lines, which may stand on one terminal with the line of progress.
// If nobody reads them any more, the program ends.
func (e *Env) List() io.Writer {
	return e.Terminal.Beside(atomicfile.Stream(e.Cleanup, e.Stdout))
}
