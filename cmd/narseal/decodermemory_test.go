package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A stream whose decoder needs more than --hold-memory is an error, which says how much it needs.
func TestDecoderMemory(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	if err := os.WriteFile(in, wideWindow(), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{
		{"verify"}, {"refs"}, {"repair", "-o", out}, {"rewrite", "-m", hashA + "=" + hashB, "-o", out}, {"address", "--self", "/nix/store/" + hashA + "-x", "-o", out},
	} {
		for hold, want := range map[string]int{"16MiB": 1, "160MiB": 0} {
			var stdout, stderr bytes.Buffer
			args := append(append([]string{program}, command...), "--hold-memory", hold, in)
			status := run(t.Context(), args, strings.NewReader(""), &stdout, &stderr)
			if status != want || want == 1 && !strings.Contains(stderr.String(), "hint: --hold-memory 138MiB") {
				t.Errorf("%q: status %d, want %d; stderr: %s", args[1:], status, want, &stderr)
			}
		}
	}
	cache := windowCache(t, t.TempDir())
	var stdout, stderr bytes.Buffer
	status := run(t.Context(), []string{program, "cache", "verify", "--hold-memory", "16MiB", cache}, strings.NewReader(""), &stdout, &stderr)
	if n := strings.Count(stderr.String(), "hint: a larger --hold-memory"); status != 1 || n != 8 {
		t.Errorf("cache: status %d, %d hints, want 1 and 8; stderr: %s", status, n, &stderr)
	}
}
