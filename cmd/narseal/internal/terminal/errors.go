package terminal

import (
	"errors"
	"fmt"
	"strings"
)

// A UsageError is the error of a call that is wrong for any input.
type UsageError struct {
	err  error
	hint string
}

func (e *UsageError) Error() string { return e.err.Error() }
func (e *UsageError) Unwrap() error { return e.err }

// Usage returns a [UsageError] with a hint, which may be empty, and a message.
func Usage(hint, format string, args ...any) error {
	return &UsageError{fmt.Errorf(format, args...), hint}
}

// A HintedError is an error with a hint that is not about usage.
type HintedError struct {
	err  error
	hint string
}

func (e *HintedError) Error() string { return e.err.Error() }
func (e *HintedError) Unwrap() error { return e.err }

// Hint adds a hint to err.
func Hint(err error, hint string) error { return &HintedError{err, hint} }

// hint returns the hint for err, or "".
func (t *Terminal) hint(err error) string {
	var usage *UsageError
	var hinted *HintedError
	switch {
	case errors.As(err, &usage):
		return usage.hint
	case errors.As(err, &hinted):
		return hinted.hint
	}
	for _, f := range t.hints {
		if hint := f(err); hint != "" {
			return hint
		}
	}
	return ""
}

// split returns the errors that errors.Join joined. It adds the text that wraps all of them to each.
func split(err error) []error {
	if inner := errors.Unwrap(err); inner != nil {
		all := split(inner)
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
		all = append(all, split(e)...)
	}
	if strings.Join(text, "\n") != err.Error() {
		return []error{err} // fmt.Errorf joined them in a sentence
	}
	return all
}
