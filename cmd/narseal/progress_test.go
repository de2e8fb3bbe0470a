package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/mattn/go-runewidth"

	"narseal/nar/nartest"
)

// eraseLine erases the rest of a line (ECMA-48 EL).
const eraseLine = "\x1b[K"

// A screen is what stands on a terminal of some lines, as far as the program
// moves on it: by carriage returns, newlines and erasing the rest of a line.
func screen(t *testing.T, out []byte) []string {
	t.Helper()
	lines := []string{""}
	at := 0 // in the last line, in runes
	for rest := string(out); rest != ""; {
		switch {
		case strings.HasPrefix(rest, "\r"):
			at, rest = 0, rest[1:]
			continue
		case strings.HasPrefix(rest, "\n"):
			lines, at, rest = append(lines, ""), 0, rest[1:]
			continue
		case strings.HasPrefix(rest, eraseLine):
			line := []rune(lines[len(lines)-1])
			lines[len(lines)-1], rest = string(line[:at]), rest[len(eraseLine):]
			continue
		case rest[0] < ' ':
			t.Fatalf("the terminal gets %q in %q", rest[0], out)
		}
		r := []rune(rest)[0]
		line := []rune(lines[len(lines)-1])
		if at < len(line) {
			line[at] = r
		} else {
			line = append(line, r)
		}
		lines[len(lines)-1], at, rest = string(line), at+1, rest[len(string(r)):]
	}
	return lines
}

// onTerminal is narseal with stderr, and perhaps stdout, on a terminal.
type onTerminal struct {
	*exec.Cmd
	tty  *os.File
	mu   sync.Mutex
	got  []byte
	over chan struct{}
}

func startOnTerminal(t *testing.T, width uint16, bothStreams bool, stdin io.Reader, args ...string) *onTerminal {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The test binary is narseal under that name.
	bin := filepath.Join(t.TempDir(), "narseal")
	if err := os.Symlink(self, bin); err != nil {
		t.Fatal(err)
	}
	p := &onTerminal{Cmd: exec.Command(bin, args...), over: make(chan struct{})}
	master, slave, err := pty.Open()
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	if err := pty.Setsize(master, &pty.Winsize{Rows: 24, Cols: width}); err != nil {
		t.Fatal(err)
	}
	p.Env = append(os.Environ(), "TERM=xterm", "NO_COLOR=1") // a screen knows no colors
	p.tty, p.Stdin, p.Stderr = master, stdin, slave
	if bothStreams {
		p.Stdout = slave
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	go func() {
		defer close(p.over)
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			p.mu.Lock()
			p.got = append(p.got, buf[:n]...)
			p.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		p.Process.Kill()
		master.Close()
	})
	return p
}

// wait waits until the terminal has got something.
func (p *onTerminal) wait(t *testing.T, pattern string) {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for range 600 {
		if re.Match(p.output()) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("the terminal never got %s, but %q", pattern, p.output())
}

func (p *onTerminal) output() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return bytes.Clone(p.got)
}

// end waits for the program's end and returns all that the terminal got.
func (p *onTerminal) end() ([]byte, error) {
	err := p.Wait()
	<-p.over
	return p.output(), err
}

// slowArchive is an archive that ends only when it is told to.
func slowArchive() (*io.PipeReader, func()) {
	r, w := io.Pipe()
	whole := nartest.Tree(nartest.Dir{
		"first": nartest.File("1"),
		"large": nartest.File(bytes.Repeat([]byte("x"), 3<<20)),
	})
	done := make(chan struct{})
	go func() {
		w.Write(whole[:2<<20])
		<-done
		w.Write(whole[2<<20:])
		w.Close()
	}()
	return r, func() { close(done) }
}

func TestProgressOnATerminal(t *testing.T) {
	in, finish := slowArchive()
	p := startOnTerminal(t, 80, true, in, "verify")
	p.wait(t, `\r2\.00 MiB, .*/s: /large`)
	finish()
	out, err := p.end()
	if err != nil {
		t.Fatal(err)
	}
	// Of the progress nothing is left, and stdout is whole.
	got := strings.Join(screen(t, out), "\n")
	if want := "2 files, 0 signed images, 0 slices; 0 stale slots; 0 B hashed; no signature\n"; got != want {
		t.Errorf("on the terminal stands %q, want %q", got, want)
	}
}

func TestProgressFitsTheTerminal(t *testing.T) {
	in, finish := slowArchive()
	p := startOnTerminal(t, 30, false, in, "verify")
	p.wait(t, `\r.*2\.00 MiB`)
	finish()
	out, err := p.end()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range regexp.MustCompile("\r|\n|"+regexp.QuoteMeta(eraseLine)).Split(string(out), -1) {
		if w := runewidth.StringWidth(line); w >= 30 {
			t.Errorf("%q has %d columns, and the terminal 30", line, w)
		}
	}
}

// Whatever ends the program: no line of progress stands before the message,
// or before the shell's prompt.
func TestProgressIsClearedAtTheEnd(t *testing.T) {
	t.Run("error", func(t *testing.T) {
		r, w := io.Pipe()
		whole := nartest.Tree(nartest.Dir{"a": nartest.File(bytes.Repeat([]byte("x"), 1<<20))})
		go w.Write(whole[:1<<20])
		p := startOnTerminal(t, 100, false, r, "verify")
		p.wait(t, `\r1\.00 MiB`)
		w.Close()
		out, err := p.end()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != statusError {
			t.Errorf("narseal ended with %v", err)
		}
		lines := screen(t, out)
		if len(lines) != 2 || !strings.HasPrefix(lines[0], "narseal: error: stdin: ") || lines[1] != "" {
			t.Errorf("on the terminal stands %q", lines)
		}
	})
	t.Run("signal", func(t *testing.T) {
		in, finish := slowArchive()
		defer finish()
		p := startOnTerminal(t, 80, false, in, "verify")
		p.wait(t, `\r2\.00 MiB`)
		p.Process.Signal(syscall.SIGINT)
		// Wait would wait for the copying to stdin, too.
		state, err := p.Process.Wait()
		if err != nil {
			t.Fatal(err)
		}
		<-p.over
		if ws := state.Sys().(syscall.WaitStatus); ws.Signal() != syscall.SIGINT {
			t.Errorf("narseal ended with %v", state)
		}
		if lines := screen(t, p.output()); len(lines) != 2 || lines[0] != "narseal: stopped: nothing was changed" || lines[1] != "" {
			t.Errorf("on the terminal stands %q", lines)
		}
	})
}

// Of an input that is a file the end is known.
func TestProgressTotal(t *testing.T) {
	name := filepath.Join(t.TempDir(), "nar")
	whole := nartest.Tree(nartest.File(bytes.Repeat([]byte("x"), 1<<20)))
	if err := os.WriteFile(name, whole, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"verify", "--progress", "always", name},
		{"refs", "--progress", "always", name},
		{"repair", "--progress", "always", "-o", name + ".out", name},
		{"rewrite", "-q", "--progress", "always", "-o", name + ".out", "--map", strings.Repeat("a", 32) + "=" + strings.Repeat("b", 32), name},
		{"rewrite", "-q", "--spool", "--progress", "always", "-o", name + ".out", "--map", strings.Repeat("a", 32) + "=" + strings.Repeat("b", 32), name},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), append([]string{"narseal"}, args...), nil, &stdout, &stderr); code != 0 {
			t.Fatalf("%q: status %d: %s", args, code, &stderr)
		}
		want := regexp.MustCompile(`^narseal: progress: 1\.00 MiB of 1\.00 MiB, 100%, \d[^,]*/s, [0-9.]+m?s\n$`)
		if got := stderr.Bytes(); !want.Match(got) {
			t.Errorf("%q: stderr is %q", args, got)
		}
	}
}

// Nothing is shown where stderr is no terminal, unless asked for.
func TestProgressElsewhere(t *testing.T) {
	archive := nartest.Tree(nartest.File("x"))
	for mode, want := range map[string]string{
		"auto":   `^$`,
		"never":  `^$`,
		"always": `^narseal: progress: 120 B, \d[^,]*/s, [0-9.]+m?s\n$`,
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), []string{"narseal", "repair", "--progress", mode}, bytes.NewReader(archive), &stdout, &stderr)
		if code != 0 || !bytes.Equal(stdout.Bytes(), archive) {
			t.Errorf("%s: status %d, or another archive", mode, code)
		}
		if !regexp.MustCompile(want).Match(stderr.Bytes()) {
			t.Errorf("%s: stderr is %q", mode, &stderr)
		}
	}
}
