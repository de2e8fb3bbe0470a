package filter_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"narseal/filter"
	"narseal/filter/rules"
	"narseal/filter/rules/rulestest"
	"narseal/filter/spill"
	"narseal/macho/machotest"
	"narseal/nar"
	"narseal/nar/nartest"
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
		{"100000 pipe", "no error: true"},
		{"100000 file", "no error: true"},
		{"1000000 pipe", "no error: true"},
		{"1000000 file", "no error: true"},
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

// Storms of renamed entries, far more than are kept in memory, come out as the naive oracle says: beside each other, in
// renamed directories, in many of them inside each other, and with contents that the spill file takes in parts.
func TestStormsOfRenamed(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	// leaves is a directory of n entries, of which a part is renamed.
	leaves := func(n int, all bool) nartest.Dir {
		d := nartest.Dir{}
		for range n {
			c := "abcdf"[rnd.IntN(5)]
			name := fmt.Sprintf("%s-%06x", hashOf(c), rnd.IntN(1<<24))
			if !all && rnd.IntN(3) == 0 {
				name = fmt.Sprintf("%c%06x", c, rnd.IntN(1<<24))
			}
			d[name] = nartest.File(strings.Repeat("contents ", rnd.IntN(3)*rnd.IntN(20)))
		}
		return d
	}
	deep := leaves(2, true)
	for i := range 300 {
		next := leaves(40, false)
		next[hashOf("abcdf"[i%5])+"-deep"] = deep
		deep = next
	}
	manyDirs := nartest.Dir{}
	for range 4_000 {
		manyDirs[fmt.Sprintf("%s-%06x", hashOf("abcdf"[rnd.IntN(5)]), rnd.IntN(1<<24))] = leaves(4, false)
	}
	rule := func(from, to byte) rules.Rule { return rules.Rule{From: hashOf(from), To: hashOf(to)} }
	for name, tree := range map[string]nartest.Node{
		"flat":           leaves(40_000, true),
		"in a directory": nartest.Dir{hashOf('a'): leaves(30_000, false), "b": leaves(1000, false)},
		"deep":           deep,
		"directories":    nartest.Dir{hashOf('b'): manyDirs},
	} {
		t.Run(name, func(t *testing.T) {
			list := []rules.Rule{rule('a', 'x'), rule('b', 'y'), rule('c', 'w'), rule('d', 'v'), rule('f', 'z')}
			checkMoves(t, tree, list, 1)
		})
	}
}

// Sealed bundles in renamed directories, among so many renamed entries that those are parked, are sealed again all the same.
func TestSealedAmongParked(t *testing.T) {
	low, high := hashOf('1'), hashOf('z')
	var app func(hash string) machotest.Tree
	for _, c := range resealCases() {
		if app == nil {
			app = c.build
		}
	}
	build := func(hash string) []byte {
		tree := machotest.Tree{}
		for _, dir := range []string{hash + "-a", hash + "-a/" + hash + "-inner", hash + "-b", "c/" + hash} {
			for path, f := range app(hash) {
				tree[dir+"/"+path] = f
			}
			for i := range 5000 {
				tree[fmt.Sprintf("%s/%s-%05d", dir, hash, i)] = machotest.TreeFile{Data: []byte(hash)}
				tree[fmt.Sprintf("%s/y%s-%05d", dir, hash, i)] = machotest.TreeFile{}
			}
		}
		return narOf(tree)
	}
	rule := rules.Rule{From: low, To: high}
	for _, how := range []string{"stream", "little memory"} {
		got, invalid, res := runFilter(t, filter.Config{Rules: compile(t, rule)}, build(low), how)
		if want := build(high); len(invalid) > 0 || res.Repaired < 4 || !bytes.Equal(got, want) {
			t.Errorf("%s: invalid: %v, %d repaired, differs at %d of %d", how, invalid, res.Repaired, firstDifference(got, want), len(want))
		}
	}
}
