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

// A Terminal writes messages to stderr, each in a line of its own. Its methods may be called by several goroutines at
// once.
type Terminal struct {
	mu      sync.Mutex
	stderr  io.Writer
	quiet   bool
	verbose bool
	hints   []func(error) string
	style   Style
	mask    *strings.Replacer // what no message may contain; nil: nothing

	progress *Progress // nil where none is shown
	drawn    bool      // a line of progress stands on the terminal
	midLine  bool      // an incomplete line of data stands there
	ended    bool      // no line of progress may follow
}

// New returns a Terminal that writes to stderr. Each of hints says what can be done about errors of a package that
// this one does not know; it returns the empty string for all others.
func New(stderr io.Writer, hints ...func(error) string) *Terminal {
	return &Terminal{stderr: stderr, hints: hints, style: StyleOf(stderr)}
}

// Options say what a Terminal shows.
type Options struct {
	Quiet    bool // no warnings
	Verbose  bool // what was done
	Progress Mode
}

// Configure sets the options, and begins to show progress if they ask for it. It is to be called once, before the
// work.
func (t *Terminal) Configure(o Options) {
	t.quiet, t.verbose = o.Quiet, o.Verbose
	t.startProgress(o.Progress)
}

// Mask replaces secrets in all messages: pairs of text and what replaces it. It is to be called once, before the work.
func (t *Terminal) Mask(pairs []string) {
	if len(pairs) > 0 {
		t.mask = strings.NewReplacer(pairs...)
	}
}

// Error reports an error, or each of several that were joined, and what can be done about it. Work that was canceled is not
// reported: the run ends for another reason.
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

// Errorf reports an error.
func (t *Terminal) Errorf(format string, args ...any) { t.say("error", format, args...) }

// Warnf reports what the user should know though the run goes on, unless it is to be quiet.
func (t *Terminal) Warnf(format string, args ...any) {
	if !t.quiet {
		t.say("warning", format, args...)
	}
}

// Infof reports what was done, if the user asked for that.
func (t *Terminal) Infof(format string, args ...any) {
	if t.verbose {
		t.line("narseal: %s", fmt.Sprintf(format, args...))
	}
}

// Hintf says what can be done, unless the user wants no more than errors.
func (t *Terminal) Hintf(format string, args ...any) {
	if !t.quiet {
		t.say("hint", format, args...)
	}
}

// Stopped reports that a signal ends the run, and the state in which it leaves things, which may be empty. It does not
// wait for a message that nobody reads.
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

// write writes a line of a message after a prefix that is safe to print.
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

// IsQuiet reports whether the user wants to see nothing but problems.
func (t *Terminal) IsQuiet() bool { return t.quiet }

// IsTerminal reports whether a stream of the program is a terminal.
func IsTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Stderr returns a writer for what goes to stderr as it is, such as help. See Beside.
func (t *Terminal) Stderr() io.Writer { return besideWriter{t.stderr, t} }

// StderrIsTerminal reports whether stderr is a terminal.
func (t *Terminal) StderrIsTerminal() bool { return IsTerminal(t.stderr) }
