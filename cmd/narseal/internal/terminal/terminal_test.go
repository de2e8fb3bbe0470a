package terminal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

func TestHarmless(t *testing.T) {
	for in, want := range map[string]string{
		"plain – ü “x” \\n":             "plain – ü “x” \\n",
		"a\nnarseal: error: b":          `a\nnarseal: error: b`,
		"\x1b]0;title\a\x1b[31m":        `\x1b]0;title\a\x1b[31m`,
		"\r::error::x":                  `\r::error::x`,
		"\xff\u202e\u0085\u200b\ufffd ": `\xff\u202e\u0085\u200b` + "\ufffd ",
	} {
		if got := Harmless(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

func TestErrorsAreSplitByLine(t *testing.T) {
	a, b, c := errors.New("a\nb"), errors.New("b"), Hint(errors.New("c"), "do")
	for _, test := range []struct {
		err  error
		want string
	}{
		{a, "narseal: error: a\\nb\n"},
		{errors.Join(a, b), "narseal: error: a\\nb\nnarseal: error: b\n"},
		{errors.Join(errors.Join(a, c), b), "narseal: error: a\\nb\nnarseal: error: c\nnarseal: error: b\nnarseal: hint: do\n"},
		{fmt.Errorf("x: %w", errors.Join(a, b)), "narseal: error: x: a\\nb\nnarseal: error: x: b\n"},
		{fmt.Errorf("x: %w!", errors.Join(a, b)), "narseal: error: x: a\\nb\\nb!\n"},
		{fmt.Errorf("%w (%w)", a, b), "narseal: error: a\\nb (b)\n"},
	} {
		var stderr bytes.Buffer
		New(&stderr).Error(test.err)
		if stderr.String() != test.want {
			t.Errorf("%q: says %q, want %q", test.err, &stderr, test.want)
		}
	}
}

// A hint may come from who knows an error that this package does not, and from the error itself before that.
func TestHints(t *testing.T) {
	known := errors.New("known")
	hint := func(err error) string {
		if errors.Is(err, known) {
			return "do"
		}
		return ""
	}
	none := func(error) string { return "" }
	for _, test := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("x: %w", known), "narseal: error: x: known\nnarseal: hint: do\n"},
		{errors.New("other"), "narseal: error: other\n"},
		{Hint(known, "better"), "narseal: error: known\nnarseal: hint: better\n"},
		{Usage("use", "%w!", known), "narseal: error: known!\nnarseal: hint: use\n"},
	} {
		var stderr bytes.Buffer
		New(&stderr, none, hint).Error(test.err)
		if stderr.String() != test.want {
			t.Errorf("%q: says %q, want %q", test.err, &stderr, test.want)
		}
	}
}

// What is quiet or not verbose says nothing of the kind.
func TestOptions(t *testing.T) {
	for _, test := range []struct {
		options Options
		want    string
	}{
		{Options{}, "narseal: warning: w\nnarseal: error: e\n"},
		{Options{Quiet: true}, "narseal: error: e\n"},
		{Options{Verbose: true}, "narseal: warning: w\nnarseal: i\nnarseal: error: e\n"},
	} {
		var stderr bytes.Buffer
		term := New(&stderr)
		term.Configure(test.options)
		term.Warnf("w")
		term.Infof("i")
		term.Errorf("e")
		if stderr.String() != test.want {
			t.Errorf("%+v: says %q, want %q", test.options, &stderr, test.want)
		}
	}
}

// A nil Progress shows nothing and fails at nothing.
func TestNoProgress(t *testing.T) {
	var p *Progress
	name := "x"
	p.Begin(1)
	p.BeginItems(1, 1)
	p.Add(1)
	p.AddItem()
	p.At(&name)
	r := strings.NewReader("x")
	if p.Count(r) != io.Reader(r) || p.CountAt(r) != io.ReaderAt(r) {
		t.Error("a reader that counts for nobody")
	}
	follow, entered := p.Follow(r)
	entered(func() string { return name })
	if follow != io.Reader(r) {
		t.Error("a reader that follows for nobody")
	}
}

// stuckWriter takes nothing until it is released.
type stuckWriter struct{ begun, release chan struct{} }

func (w stuckWriter) Write(b []byte) (int, error) {
	close(w.begun)
	<-w.release
	return len(b), nil
}

// A reader of stdout that stands still does not keep the program from ending.
func TestEndProgressWhileWriting(t *testing.T) {
	term := New(io.Discard)
	term.Configure(Options{Progress: Always})
	w := stuckWriter{make(chan struct{}), make(chan struct{})}
	written := make(chan struct{})
	go func() {
		defer close(written)
		fmt.Fprintln(term.Beside(w), "data")
	}()
	<-w.begun
	ended := make(chan struct{})
	go func() { term.EndProgress(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Error("it waits for the write")
	}
	close(w.release)
	<-written
	term.EndProgress()
}
