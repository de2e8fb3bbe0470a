package main

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"narseal/nar/nartest"
)

var updateReadme = flag.Bool("update", false, "update the session in the README")

// TestReadme compares what stands in the README between "begin session" and "end
// session" with what its commands print. After a change of that, run
//
//	go test ./cmd/narseal -run TestReadme -update
func TestReadme(t *testing.T) {
	const name, begin, end = "../../README.md", "<!-- begin session -->\n", "<!-- end session -->\n"
	readme, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(readme), begin)
	got, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("the README has no lines %q and %q", begin, end)
	}
	want := readmeSession(t, before)
	if *updateReadme {
		if err := os.WriteFile(name, []byte(before+begin+want+end+after), 0o666); err != nil {
			t.Fatal(err)
		}
	} else if got != want {
		t.Errorf("the README has\n%s\nwant, by go test ./cmd/narseal -run TestReadme -update,\n%s", got, want)
	}
}

// readmeSession runs the commands that stand above the section, as a user would
// who has a clone, and returns what they print.
func readmeSession(t *testing.T, before string) string {
	commands := regexp.MustCompile("(?s)```sh\n(.*?)```").FindStringSubmatch(before)
	if commands == nil {
		t.Fatal("no commands")
	}
	if n := strings.Count(commands[1], "\n"); n > 4 {
		t.Errorf("the session has %d lines, want at most 4", n)
	}
	nartest.Tool(t, "go")
	clone := t.TempDir()
	for _, part := range []string{"cmd", "filter", "macho", "nar", "testdata"} {
		if err := os.CopyFS(filepath.Join(clone, part), os.DirFS("../../"+part)); err != nil {
			t.Fatal(err)
		}
	}
	for _, part := range []string{"go.mod", "go.sum"} {
		b, err := os.ReadFile("../../" + part)
		if err == nil {
			err = os.WriteFile(filepath.Join(clone, part), b, 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	sh := exec.Command(nartest.Tool(t, "sh"), "-e", "-c", commands[1])
	sh.Dir = clone
	out, err := sh.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return "```text\n" + strings.TrimRight(string(out), "\n") + "\n```\n"
}
