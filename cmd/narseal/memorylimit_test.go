package main

import (
	"bytes"
	"path/filepath"
	"testing"
)

// The garbage collector gets a limit that follows from --hold-memory and what the command keeps, unless the user sets one.
func TestMemoryLimit(t *testing.T) {
	var got int64
	limitMemory = func(n int64) int64 { got = n; return 0 }
	defer func() { limitMemory = nil }()
	dir := t.TempDir()
	for _, test := range []struct {
		environment string
		args        []string
		want        int64 // MiB
	}{
		{"", []string{"verify", "--hold-memory", "16MiB"}, 56},
		{"", []string{"verify"}, 296},
		{"", []string{"refs", "--hold-memory", "16MiB", "--report", filepath.Join(dir, "r")}, 120},
		{"", []string{"cache", "verify", "--hold-memory", "16MiB", dir}, 56},
		{"", []string{"verify", "--hold-memory", "2PiB"}, 1<<30 + 40},
		{"", []string{"cache", "summary", filepath.Join(dir, "ledger")}, 104},
		{"1GiB", []string{"verify"}, 0},
	} {
		t.Setenv("GOMEMLIMIT", test.environment)
		got = 0
		var out bytes.Buffer
		run(t.Context(), append([]string{program}, test.args...), bytes.NewReader(nil), &out, &out)
		if got != test.want<<20 {
			t.Errorf("GOMEMLIMIT=%s %q: %d MiB, want %d; %s", test.environment, test.args, got>>20, test.want, &out)
		}
	}
}
