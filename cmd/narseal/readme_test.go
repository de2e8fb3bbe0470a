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

var updateReadme = flag.Bool("update", false, "update the sections of the README that are generated")

// TestReadme compares the sections of the README between "begin NAME" and "end
// NAME" with what they are made from. After a change of what the program prints,
// or of the filter package's example, run
//
//	go test ./cmd/narseal -run TestReadme -update
func TestReadme(t *testing.T) {
	const name = "../../README.md"
	readme, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, section := range []struct {
		name string
		text func(*testing.T, string) string
	}{
		{"session", readmeSession},
		{"example", readmeExample},
	} {
		t.Run(section.name, func(t *testing.T) {
			begin, end := "<!-- begin "+section.name+" -->\n", "<!-- end "+section.name+" -->\n"
			before, rest, ok := strings.Cut(string(readme), begin)
			got, after, ok2 := strings.Cut(rest, end)
			if !ok || !ok2 {
				t.Fatalf("the README has no lines %q and %q", begin, end)
			}
			want := section.text(t, before)
			if *updateReadme {
				readme = []byte(before + begin + want + end + after)
			} else if got != want {
				t.Errorf("the README has\n%s\nwant, by go test ./cmd/narseal -run TestReadme -update,\n%s", got, want)
			}
		})
	}
	if *updateReadme && !t.Failed() {
		if err := os.WriteFile(name, readme, 0o666); err != nil {
			t.Fatal(err)
		}
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
	return block("text", string(out))
}

// readmeExample returns the body of the filter package's example.
func readmeExample(t *testing.T, _ string) string {
	source, err := os.ReadFile("../../filter/example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	body := regexp.MustCompile(`(?s)\nfunc Example\(\) \{\n(.*?)\t// Output:`).FindSubmatch(source)
	if body == nil {
		t.Fatal("no function Example with an output")
	}
	return block("go", regexp.MustCompile(`(?m)^\t`).ReplaceAllString(string(body[1]), ""))
}

func block(kind, text string) string {
	return "```" + kind + "\n" + strings.TrimRight(text, "\n") + "\n```\n"
}
