package filter_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"narseal/filter"
	"narseal/filter/rules"
	"narseal/filter/rules/rulestest"
	"narseal/filter/spill"
	"narseal/nar"
)

// manyRenamed writes an archive of a directory with n entries, all of which a rule from a's to z's moves to its end.
func manyRenamed(w io.Writer, n int) error {
	nw := nar.NewWriter(w)
	err := nw.WriteEntry(&nar.Entry{Type: nar.TypeDirectory})
	for i := 0; i < n && err == nil; i++ {
		name := fmt.Appendf(nil, "%s-%07d", hashOf('a'), i)
		err = nw.WriteEntry(&nar.Entry{Depth: 1, Name: name, Type: nar.TypeRegular})
	}
	if err == nil {
		err = nw.WriteEntry(&nar.Entry{Depth: 1, Name: []byte("b"), Type: nar.TypeRegular})
	}
	return errors.Join(err, nw.Close())
}

// The memory of renamed entries that wait for their place is bounded, with all that is noted about them.
func TestWaitingMemory(t *testing.T) {
	const hold = 64 << 20
	if n := os.Getenv("FILTER_RENAMED"); n != "" {
		runRenamed(t, n, hold)
		return
	}
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip(err)
	}
	for _, c := range []struct{ n, want string }{
		{"100000 pipe", "no error"},
		{"100000 file", "no error"},
		{"1000000 pipe", "renamed entries wait for their place"},
		{"1000000 file", "renamed entries"},
	} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestWaitingMemory$", "-test.v")
		cmd.Env = append(os.Environ(), "FILTER_RENAMED="+c.n)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), c.want) {
			t.Errorf("%s entries: %v, want %q\n%s", c.n, err, c.want, out)
			continue
		}
		var peak int64
		_, line, _ := strings.Cut(string(out), "VmHWM:")
		if _, err := fmt.Sscan(line, &peak); err != nil {
			t.Fatalf("no VmHWM in %s", out)
		}
		peak <<= 10
		t.Logf("%s entries: %d MiB, %v", c.n, peak>>20, cmd.ProcessState.UserTime())
		if limit := int64(hold + 64<<20); peak > limit && rulestest.ExhaustiveStep == 1 {
			t.Errorf("%s entries take %d MiB of memory, want at most %d", c.n, peak>>20, limit>>20)
		}
	}
}

// runRenamed is the other process.
func runRenamed(t *testing.T, what string, hold int64) {
	n, how := 0, ""
	fmt.Sscan(what, &n, &how)
	dir := t.TempDir()
	c := filter.Config{
		Rules: compile(t, rules.Rule{From: hashOf('a'), To: hashOf('z')}),
		Spill: spill.Options{Memory: hold, Open: func() (spill.File, error) { return os.CreateTemp(dir, "") }},
	}
	in, err := os.Create(dir + "/in")
	if err == nil {
		err = manyRenamed(in, n)
	}
	if err != nil {
		t.Fatal(err)
	}
	size, _ := in.Seek(0, io.SeekCurrent)
	in.Seek(0, io.SeekStart)
	if how == "file" {
		_, err = c.RunAt(io.Discard, in, size, nil)
	} else {
		_, err = c.Run(nar.NewWriter(io.Discard), nar.NewReader(in))
	}
	t.Logf("no error: %t, %v", err == nil, err)
	status, err := os.ReadFile("/proc/self/status") // what the kernel counted
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", bytes.TrimSpace(status))
}
