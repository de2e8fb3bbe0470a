package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"github.com/mattn/go-runewidth"
)

// onTTY runs narseal with stdout on a terminal of so many columns, and returns what that gets.
func onTTY(t *testing.T, columns uint16, env []string, args ...string) string {
	t.Helper()
	ours, theirs, err := pty.Open()
	if err != nil {
		t.Skipf("needs a pseudo terminal: %v", err)
	}
	defer ours.Close()
	if err := pty.Setsize(ours, &pty.Winsize{Rows: 24, Cols: columns}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("narseal", args...)
	cmd.Env = append(cmd.Environ(), env...)
	cmd.Stdout = theirs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	// Linux says EIO when nobody has the other side open any more.
	got, err := io.ReadAll(ours)
	if err != nil && !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	cmd.Wait()
	return string(bytes.ReplaceAll(got, []byte("\r\n"), []byte("\n")))
}

// Help and tables fit the terminal, whatever its width. Only what is to be copied, and a path, is never broken.
func TestFitsTheTerminal(t *testing.T) {
	for _, columns := range []uint16{40, 60, 80, 120} {
		for _, command := range []string{"", "verify", "rewrite", "cache repair"} {
			help := onTTY(t, columns, []string{"NO_COLOR=1"}, append([]string{"help"}, strings.Fields(command)...)...)
			inExamples := false
			for line := range strings.Lines(help) {
				line = strings.TrimSuffix(line, "\n")
				if line == "Examples:" || line == "" {
					inExamples = line != ""
				}
				term := strings.HasPrefix(line, "  ") && !strings.HasPrefix(line, "       ") // is one word
				if w := runewidth.StringWidth(line); w > int(columns) && !inExamples && !term {
					t.Errorf("help %s: %d columns of %d in %q", command, w, columns, line)
				}
			}
		}
	}
	for line := range strings.Lines(onTTY(t, 40, []string{"NO_COLOR=1"}, "verify", "--all", "../../testdata/macho/goldens/A")) {
		line = strings.TrimSuffix(line, "\n")
		if w := runewidth.StringWidth(line); w > 40 && !strings.HasPrefix(line, "  ../") && !strings.HasPrefix(line, "STATUS") {
			t.Errorf("verify: %d columns in %q", w, line)
		}
	}
}

// A terminal gets color by meaning: what is valid in green, what is not in red.
func TestColor(t *testing.T) {
	const green, red, off = "\x1b[32m", "\x1b[1;31m", "\x1b[0m"
	image := t.TempDir() + "/image"
	damaged := readTestdata(t, "macho/goldens/A/lld-arm64")
	damaged[4096] ^= 0xff
	if err := os.WriteFile(image, damaged, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		env  []string
		want bool
	}{
		{[]string{"TERM=xterm"}, true},
		{[]string{"TERM=xterm", "NO_COLOR=1"}, false},
		{[]string{"TERM=xterm", "CLICOLOR=0"}, false},
		{[]string{"TERM=dumb"}, false},
		{[]string{"TERM=dumb", "CLICOLOR_FORCE=1"}, true},
	} {
		out := onTTY(t, 200, append([]string{"NO_COLOR="}, test.env...), "verify", "--all", image, "../../testdata/sample.nar")
		for _, want := range []string{green + "valid" + off, red + "stale" + off, red + "1 invalid signature" + off} {
			if strings.Contains(out, want) != test.want {
				t.Errorf("%q: %q is there: %v, want %v", test.env, want, !test.want, test.want)
			}
		}
		if strings.Contains(out, "\x1b") != test.want {
			t.Errorf("%q: %q", test.env, out)
		}
	}
}
