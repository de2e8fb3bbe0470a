package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"

	"narseal/filter"
	"narseal/macho"
	"narseal/nar/binarycache"
)

// terminal is the one place that writes to stderr.
type terminal struct {
	mu      sync.Mutex
	stderr  io.Writer
	quiet   bool
	verbose bool

	progress *progress // nil where none is asked for
	drawn    bool      // a line of progress stands on the terminal
	midLine  bool      // a line of data that is not complete stands there
	ended    bool      // no line of progress may follow
}

func (t *terminal) say(kind, format string, args ...any) {
	t.line("narseal: %s: %s", kind, fmt.Sprintf(format, args...))
}

func (t *terminal) line(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear()
	// Nobody is left to be told that stderr cannot be written.
	fmt.Fprintln(t.stderr, harmless(fmt.Sprintf(format, args...)))
}

// harmless is s as one line of which a terminal, and what reads the logs of a
// workflow, takes nothing for a command: names may hold any byte.
func harmless(s string) string {
	if isHarmless(s) {
		return s
	}
	var b strings.Builder
	for i, w := 0, 0; i < len(s); i += w {
		var r rune
		r, w = utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && w == 1 || !unicode.IsPrint(r) {
			quoted := strconv.Quote(s[i : i+w])
			b.WriteString(quoted[1 : len(quoted)-1])
			continue
		}
		b.WriteString(s[i : i+w])
	}
	return b.String()
}

// fail says an error, or each of several, and what can be done about it.
func (t *terminal) fail(err error) {
	for _, e := range parted(err) {
		t.say("error", "%v", e)
	}
	if hint := hintFor(err); hint != "" {
		t.say("hint", "%s", hint)
	}
}

// warn tells of what the user should know though the run goes on.
func (t *terminal) warn(format string, args ...any) {
	if !t.quiet {
		t.say("warning", format, args...)
	}
}

// warnUnsealed names a slice that leaves the program with a signature that
// does not hold.
func (t *terminal) warnUnsealed(path string, s *macho.Slice) {
	t.warn("%q: %s slice at offset %d: %s", path, s.Arch, s.Offset, describeState(s))
}

// describeState is a slice's status, and the reason where there is one.
func describeState(s *macho.Slice) string {
	if s.Reason == "" {
		return string(s.Status)
	}
	if strings.HasPrefix(s.Reason, string(s.Status)) {
		return s.Reason
	}
	return string(s.Status) + ": " + s.Reason
}

// parted is what errors.Join joined, each with what was said before all of it.
func parted(err error) []error {
	if inner := errors.Unwrap(err); inner != nil {
		all := parted(inner)
		before, ok := strings.CutSuffix(err.Error(), inner.Error())
		if len(all) == 1 || !ok {
			return []error{err}
		}
		for i, e := range all {
			all[i] = fmt.Errorf("%s%w", before, e)
		}
		return all
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	var text []string
	for _, e := range joined.Unwrap() {
		text = append(text, e.Error())
		all = append(all, parted(e)...)
	}
	if strings.Join(text, "\n") != err.Error() {
		return []error{err} // by fmt.Errorf, in a sentence
	}
	return all
}

// inform tells what -v asks for.
func (t *terminal) inform(format string, args ...any) {
	if t.verbose {
		t.line("narseal: %s", fmt.Sprintf(format, args...))
	}
}

// finish says how the run ended and returns the exit status.
func (t *terminal) finish(err error) int {
	t.endProgress()
	var usage *usageError
	var sealErr *filter.SignatureError
	var stop *stopError
	switch {
	case err == nil:
		return statusDone
	case errors.As(err, &stop):
		return stop.end()
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

// A usageError is a call that cannot be right whatever the input holds.
type usageError struct {
	err  error
	hint string
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func badUsage(hint, format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...), hint}
}

// A hintedError carries advice with an error that is not about usage.
type hintedError struct {
	error
	hint string
}

func (e *hintedError) Unwrap() error { return e.error }

func hintFor(err error) string {
	var usage *usageError
	var hinted *hintedError
	var sealErr *filter.SignatureError
	var rename *filter.RenameError
	switch {
	case errors.As(err, &usage):
		return usage.hint
	case errors.As(err, &hinted):
		return hinted.hint
	case errors.As(err, &sealErr):
		return hintForSeal(sealErr)
	case errors.As(err, &rename):
		if rename.IsClash() {
			return ""
		}
		return "the entry belongs before one that is already written; --spool copies the input to a temporary file first, so that it can move"
	case errors.Is(err, binarycache.ErrConflict):
		return "rules that swap paths need another cache to write: --output CACHE; a path that is not meant is left out by --path"
	case errors.Is(err, context.Canceled):
		return ""
	}
	return ""
}

// isTerminal tells whether a stream of the program is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
