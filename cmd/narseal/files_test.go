package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"narseal/nar/nartest"
)

// An output never takes the place of the standard input.
func TestOutputIsStdin(t *testing.T) {
	name := filepath.Join(t.TempDir(), "in.nar")
	archive := nartest.Tree(nartest.Dir{"a": nartest.File([]byte("a"))})
	for _, args := range []string{"verify --report", "verify --html", "repair -o /dev/null --report", "refs --report"} {
		if err := os.WriteFile(name, archive, 0o600); err != nil {
			t.Fatal(err)
		}
		in, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		var stdout, stderr bytes.Buffer
		status := run(t.Context(), append(append([]string{program}, strings.Fields(args)...), name), in, &stdout, &stderr)
		in.Close()
		if status != statusUsage || !strings.Contains(stderr.String(), "in.nar would overwrite the input\n") {
			t.Errorf("%s: status %d, %s", args, status, &stderr)
		}
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, archive) {
			t.Errorf("%s: the input has changed, %v", args, err)
		}
	}
}
