package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"narseal/cmd/narseal/internal/sandbox"
)

// escape is narseal, which tries to do other things as soon as it has restricted itself. It says on stderr what was
// possible. Before, all must be possible: else the test shows nothing.
func escape() {
	dir, err := os.MkdirTemp(os.Getenv("ESCAPE"), "escape-")
	for _, name := range []string{"secret", "rename.before", "rename.after", "remove.before", "remove.after"} {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), []byte("secret"), 0o666))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "escape:", err)
		os.Exit(9)
	}
	tries := escapes(dir)
	enforce = func(p sandbox.Policy) (sandbox.Status, error) {
		for _, try := range tries {
			if err := try.do("before"); err != nil {
				return sandbox.Status{}, fmt.Errorf("escape: %s before: %w", try.name, err)
			}
		}
		status, err := sandbox.Restrict(p)
		for _, try := range tries {
			if status.ABI < try.abi {
				fmt.Fprintf(os.Stderr, "escape: %s is not denied by Landlock ABI %d\n", try.name, status.ABI)
				continue
			}
			if err := try.do("after"); err == nil {
				fmt.Fprintf(os.Stderr, "escape: could %s\n", try.name)
			} else if !errors.Is(err, os.ErrPermission) && !errors.Is(err, syscall.EXDEV) {
				fmt.Fprintf(os.Stderr, "escape: %s: %v\n", try.name, err)
			}
		}
		fmt.Fprintf(os.Stderr, "escape: tried %d things\n", len(tries))
		return status, err
	}
	os.Exit(run(context.Background(), os.Args, os.Stdin, os.Stdout, os.Stderr))
}

type escapeTry struct {
	name string
	abi  int // of Landlock, which denies it
	do   func(when string) error
}

// escapes are things to do in a directory that escape has prepared.
func escapes(dir string) []escapeTry {
	open := func(name string, flags int) error {
		f, err := os.OpenFile(filepath.Join(dir, name), flags, 0o666)
		f.Close()
		return err
	}
	return []escapeTry{
		{"read a file", 1, func(string) error { return open("secret", os.O_RDONLY) }},
		{"write a file", 1, func(string) error { return open("secret", os.O_WRONLY) }},
		{"list a directory", 1, func(string) error { return open(".", os.O_RDONLY) }},
		{"create a file", 1, func(when string) error { return open(when, os.O_WRONLY|os.O_CREATE|os.O_EXCL) }},
		{"make a directory", 1, func(when string) error { return os.Mkdir(filepath.Join(dir, when+".d"), 0o777) }},
		{"make a symlink", 1, func(when string) error { return os.Symlink("secret", filepath.Join(dir, when+".s")) }},
		{"link a file", 1, func(when string) error {
			return os.Link(filepath.Join(dir, "secret"), filepath.Join(dir, when+".l"))
		}},
		{"rename a file", 1, func(when string) error {
			return os.Rename(filepath.Join(dir, "rename."+when), filepath.Join(dir, when+".r"))
		}},
		{"remove a file", 1, func(when string) error { return os.Remove(filepath.Join(dir, "remove."+when)) }},
		{"execute a program", 1, func(string) error {
			self, err := os.Executable()
			if err != nil {
				return err
			}
			// Not by os/exec, which opens the null device.
			p, err := os.StartProcess(self, []string{"narseal", "--version"}, &os.ProcAttr{})
			if err == nil {
				_, err = p.Wait()
			}
			return err
		}},
		{"connect to a TCP port", 4, func(string) error {
			c, err := net.Dial("tcp4", os.Getenv("ESCAPE_TCP"))
			if err == nil {
				c.Close()
			}
			return err
		}},
		{"signal another process", 6, func(string) error { return syscall.Kill(os.Getppid(), 0) }},
	}
}

// cmdLandlock skips the script where the system cannot restrict a process, and else prepares it for the program escape,
// which tries to get at the files in the directory DIR:
//
//	landlock DIR
func cmdLandlock(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: landlock DIR")
	}
	t := ts.Value(scriptT{}).(testing.TB)
	c := exec.Command("narseal", "repair", "-v", "../../testdata/sample.nar")
	var stderr strings.Builder
	c.Stderr = &stderr
	ts.Check(c.Run())
	if strings.Contains(stderr.String(), "no restrictions: ") {
		t.Skip(stderr.String())
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	ts.Setenv("ESCAPE", ts.MkAbs(args[0]))
	ts.Setenv("ESCAPE_TCP", l.Addr().String())
}

// A command that a test calls restricts nothing: the test would lose its rights.
func TestRunRestrictsNothing(t *testing.T) {
	if status := run(t.Context(), []string{"narseal", "repair", "../../testdata/sample.nar"}, nil, new(strings.Builder), new(strings.Builder)); status != 0 {
		t.Errorf("status %d", status)
	}
	if _, err := os.ReadFile("/etc/passwd"); err != nil {
		t.Error(err)
	}
}

// The program has restricted itself before the first byte of its input is there.
func TestRestrictedBeforeInput(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	data, err := os.ReadFile("../../testdata/sample.nar")
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"rewrite", "--map", sampleRule},
		{"repair"},
		{"verify"},
		{"refs"},
		{"address", "--self", "/nix/store/" + sampleHash + "-hello-1.0", "--modulo", "signatures"},
	} {
		t.Run(args[0], func(t *testing.T) {
			c := exec.Command("escape", args...)
			c.Env = append(os.Environ(), "TMPDIR="+t.TempDir(), "ESCAPE="+t.TempDir(), "ESCAPE_TCP="+l.Addr().String())
			stdin, err := c.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			stderr, err := c.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			defer c.Wait()
			hung := time.AfterFunc(30*time.Second, func() { c.Process.Kill() })
			defer hung.Stop()
			lines := bufio.NewScanner(stderr)
			if !lines.Scan() || lines.Text() != "escape: tried 12 things" {
				if strings.Contains(lines.Text(), "is not denied by Landlock ABI") {
					t.Skip(lines.Text())
				}
				t.Errorf("before there is input: %q", lines.Text())
			}
			if _, err := stdin.Write(data); err != nil {
				t.Error(err)
			}
			stdin.Close()
			for lines.Scan() {
				if !strings.HasPrefix(lines.Text(), "  ") && !strings.ContainsAny(lines.Text(), "{}") {
					t.Error(lines.Text())
				}
			}
		})
	}
}
