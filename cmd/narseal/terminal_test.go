package main

import (
	"bytes"
	"errors"
	"io"
	"os/exec"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/term"
)

// An archive is written to a terminal only where -o - says so.
func TestTerminalOutput(t *testing.T) {
	for _, test := range []struct {
		args   []string
		status int
		stderr string
		out    []byte
	}{
		{nil, statusUsage, "narseal: error: output: refusing to write an archive to a terminal\n" +
			"narseal: hint: redirect it, name a file with -o FILE, or say -o - if this is what you want\n", nil},
		{[]string{"-o", "-"}, statusDone, "", readTestdata(t, "sample-rewritten.nar")},
	} {
		ours, theirs, err := pty.Open()
		if err != nil {
			t.Skipf("needs a pseudo terminal: %v", err)
		}
		defer ours.Close()
		if _, err := term.MakeRaw(int(theirs.Fd())); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("narseal", append([]string{"rewrite", "-m", sampleHash + "=" + sampleOther}, append(test.args, "../../testdata/sample.nar")...)...)
		var stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = theirs, &stderr
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
		if status := cmd.ProcessState.ExitCode(); status != test.status || stderr.String() != test.stderr {
			t.Errorf("%q: status %d, want %d; stderr:\n%s", test.args, status, test.status, &stderr)
		}
		if !bytes.Equal(got, test.out) {
			t.Errorf("%q: wrote %d bytes, want %d", test.args, len(got), len(test.out))
		}
	}
}
