// Package terminal is the only package that writes to stderr: errors, hints, warnings and progress.
package terminal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"
)

// A Terminal writes messages to stderr, each on a line of its own. Several goroutines may call its methods at the same
// time.
type Terminal struct {
	mu      sync.Mutex
	stderr  io.Writer
	quiet   bool
	verbose bool
	hints   []func(error) string
	style   Style
	mask    *strings.Replacer // removes secrets from messages; nil: there are none

	progress *Progress // nil if no progress is shown
	drawn    bool      // the progress line is on the terminal
	midLine  bool      // an incomplete line of data is on the terminal
	ended    bool      // the progress line must not be drawn again
}

// New returns a Terminal that writes to stderr. Each function in hints returns the hint for an error, or "" if it has
// none. They know errors of packages that this package does not import.
func New(stderr io.Writer, hints ...func(error) string) *Terminal {
	return &Terminal{stderr: stderr, hints: hints, style: StyleOf(stderr)}
}

// Options select what a Terminal shows.
type Options struct {
	Quiet    bool // no warnings
	Verbose  bool // what was done
	Progress Mode
}

// Configure sets the options, and starts to show progress if they ask for it. It must be called at most once, before
// the work begins.
func (t *Terminal) Configure(o Options) {
	t.quiet, t.verbose = o.Quiet, o.Verbose
	t.startProgress(o.Progress)
}

// Mask replaces secrets in all messages. pairs are the arguments of [strings.NewReplacer]. It must be called at most
// once, before the work begins.
func (t *Terminal) Mask(pairs []string) {
	if len(pairs) > 0 {
		t.mask = strings.NewReplacer(pairs...)
	}
}

// Error prints an error, or each of several joined errors, and then hints. It skips errors of canceled work, because
// the run then ends for another reason.
func (t *Terminal) Error(err error) {
	for _, e := range split(err) {
		if errors.Is(e, context.Canceled) {
			continue
		}
		t.say("error", "%v", e)
	}
	if hint := t.hint(err); hint != "" {
		t.say("hint", "%s", hint)
	}
}

// Errorf prints an error.
func (t *Terminal) Errorf(format string, args ...any) { t.say("error", format, args...) }

// Warnf prints a warning, except with --quiet.
func (t *Terminal) Warnf(format string, args ...any) {
	if !t.quiet {
		t.say("warning", format, args...)
	}
}

// Infof prints what was done, only with --verbose.
func (t *Terminal) Infof(format string, args ...any) {
	if t.verbose {
		t.line("narseal: %s", fmt.Sprintf(format, args...))
	}
}

// Hintf prints a hint, except with --quiet.
func (t *Terminal) Hintf(format string, args ...any) {
	if !t.quiet {
		t.say("hint", format, args...)
	}
}

// Stopped reports that a signal ends the run, and the state that it leaves, which may be empty. It prints nothing if
// another message blocks because nobody reads it.
func (t *Terminal) Stopped(state string) {
	if t.quiet || !t.mu.TryLock() {
		return
	}
	t.mu.Unlock()
	if state == "" {
		state = "nothing was changed"
	}
	t.line("narseal: stopped: %s", state)
}

func (t *Terminal) say(kind, format string, args ...any) {
	t.write("narseal: "+t.style.kind(kind)+": ", fmt.Sprintf(format, args...))
}

func (t *Terminal) line(format string, args ...any) { t.write("", fmt.Sprintf(format, args...)) }

// write writes a message on one line, after a prefix that is safe to print.
func (t *Terminal) write(prefix, text string) {
	if t.mask != nil {
		text = t.mask.Replace(text)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear()
	// If stderr cannot be written, there is nowhere to report it.
	fmt.Fprintln(t.stderr, prefix+Harmless(text))
}

// IsQuiet reports whether the user wants to see only problems.
func (t *Terminal) IsQuiet() bool { return t.quiet }

// IsTerminal reports whether a stream of the program is a terminal.
func IsTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Stderr returns a writer for text that goes to stderr unchanged, such as help. See Beside.
func (t *Terminal) Stderr() io.Writer { return besideWriter{t.stderr, t} }

// StderrIsTerminal reports whether stderr is a terminal.
func (t *Terminal) StderrIsTerminal() bool { return IsTerminal(t.stderr) }
