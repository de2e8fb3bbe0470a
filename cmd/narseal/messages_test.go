package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHarmless(t *testing.T) {
	for in, want := range map[string]string{
		"plain – ü “x” \\n":             "plain – ü “x” \\n",
		"a\nnarseal: error: b":          `a\nnarseal: error: b`,
		"\x1b]0;title\a\x1b[31m":        `\x1b]0;title\a\x1b[31m`,
		"\r::error::x":                  `\r::error::x`,
		"\xff\u202e\u0085\u200b\ufffd ": `\xff\u202e\u0085\u200b` + "\ufffd ",
	} {
		if got := harmless(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

func TestErrorsArePartedByLine(t *testing.T) {
	a, b, c := errors.New("a\nb"), errors.New("b"), &hintedError{errors.New("c"), "do"}
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
		(&terminal{stderr: &stderr}).fail(test.err)
		if stderr.String() != test.want {
			t.Errorf("%q: says %q, want %q", test.err, &stderr, test.want)
		}
	}
}

// A name with a newline and an escape, of a file that cannot be believed, does
// not become a message of its own.
func TestHostileNamesInMessages(t *testing.T) {
	dir := t.TempDir()
	data := readTestdata(t, "macho/goldens/A/lld-arm64")
	data[49456] ^= 0xff // the magic of its SuperBlob
	name := filepath.Join(dir, "x\nnarseal: error: y\x1b[2J")
	if err := os.WriteFile(name, data, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"verify", dir}, {"verify", "--format", "github", dir}, {"verify", name + "absent"}, {"repair", "--in-place", "-v", dir}, {"refs", name + "absent"}, {"repair", name + "absent"},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), append([]string{program}, args...), nil, &stdout, &stderr); code == statusDone {
			t.Errorf("%q: status 0", args)
		}
		for _, out := range []string{stdout.String(), stderr.String()} {
			if strings.Contains(out, "\x1b") || strings.Contains(out, "\nnarseal: error: y") {
				t.Errorf("%q: says %q", args, out)
			}
		}
	}
}
