package filter_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"narseal/filter"
	"narseal/filter/rules"
	"narseal/filter/rules/rulestest"
	"narseal/filter/spill"
	"narseal/nar"
	"narseal/nar/nartest"
)

// Names of the tests below are one letter and a hash, so that rules can send
// them to every place.
func hashOf(c byte) string { return strings.Repeat(string(c), 32) }

func compile(t testing.TB, list ...rules.Rule) *rules.Set {
	t.Helper()
	r, err := rules.Compile(list, rules.AllEncodings)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// tempFile opens spill files in a directory of the test.
func tempFile(t testing.TB) func() (spill.File, error) {
	return func() (spill.File, error) { return os.CreateTemp(t.TempDir(), "") }
}

// renameTree is the naive oracle: the tree with renamed entries, which
// nartest.Tree sorts. It reports whether two entries of a directory clash.
func renameTree(n nartest.Node, list []rules.Rule) (nartest.Node, bool) {
	dir, ok := n.(nartest.Dir)
	if !ok {
		return n, false
	}
	out := nartest.Dir{}
	for name, child := range dir {
		for _, r := range list {
			if i := strings.Index(name, r.From); i >= 0 {
				name = name[:i] + r.To + name[i+len(r.From):]
				break
			}
		}
		child, clash := renameTree(child, list)
		if _, twice := out[name]; twice || clash {
			return nil, true
		}
		out[name] = child
	}
	return out, false
}

// streamed rewrites on a pipe, which may refuse moves to the front.
func streamed(t *testing.T, c filter.Config, in []byte) ([]byte, error) {
	var out bytes.Buffer
	_, err := c.Run(nar.NewWriter(&out), nar.NewReader(bytes.NewReader(in)))
	return out.Bytes(), err
}

// seekable rewrites an input whose names can be read first.
func seekable(t *testing.T, c filter.Config, in []byte) ([]byte, error) {
	var out bytes.Buffer
	_, err := c.RunAt(&out, bytes.NewReader(in), int64(len(in)), nil)
	return out.Bytes(), err
}

// checkMoves compares both ways with the oracle.
func checkMoves(t *testing.T, tree nartest.Node, list []rules.Rule, hold int64) {
	t.Helper()
	in := nartest.Tree(tree)
	want, clash := renameTree(tree, list)
	c := filter.Config{Rules: compile(t, list...), Spill: spill.Options{Memory: hold, Open: tempFile(t)}}

	got, err := seekable(t, c, in)
	var rename *filter.RenameError
	if clash {
		if !errors.As(err, &rename) || !rename.IsClash() {
			t.Fatalf("%v by %v: want a clash of names, got %v", tree, list, err)
		}
		if _, err := streamed(t, c, in); err == nil {
			t.Fatalf("%v by %v on a pipe: want an error, got none", tree, list)
		}
		return
	}
	if err != nil {
		t.Fatalf("%v by %v: %v", tree, list, err)
	}
	if !bytes.Equal(got, nartest.Tree(want)) {
		t.Fatalf("%v by %v: got %q, want %q", tree, list, got, nartest.Tree(want))
	}

	got, err = streamed(t, c, in)
	if err != nil {
		// Refusing is right only where an entry moves ahead of another.
		if !errors.As(err, &rename) || rename.IsClash() || rename.To >= rename.From {
			t.Fatalf("%v by %v on a pipe: %v", tree, list, err)
		}
		return
	}
	if !bytes.Equal(got, nartest.Tree(want)) {
		t.Fatalf("%v by %v on a pipe: got %q, want %q", tree, list, got, nartest.Tree(want))
	}
}

// Every directory of four names, by every one and every two rules that send
// them before, between, behind and onto each other.
func TestMovesExhaustively(t *testing.T) {
	const letters = "bdfh"
	var all []rules.Rule
	for _, a := range []byte(letters) {
		for _, b := range []byte("abcdfghi") {
			if a != b {
				all = append(all, rules.Rule{From: hashOf(a), To: hashOf(b)})
			}
		}
	}
	for set := 1; set < 1<<len(letters); set++ {
		tree := nartest.Dir{}
		for i := range letters {
			if set>>i&1 != 0 {
				tree[hashOf(letters[i])] = nartest.File(letters[i : i+1])
			}
		}
		for i, a := range all {
			checkMoves(t, tree, []rules.Rule{a}, 0)
			for k, b := range all[i+1:] {
				if a.From != b.From && k%rulestest.ExhaustiveStep == 0 {
					checkMoves(t, tree, []rules.Rule{a, b}, 0)
				}
			}
		}
	}
}

// Trees of some depth, with names that move at every level, and so little
// memory that entries wait in the spill file.
func TestMovesInTrees(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	letters := "abcdfghijk"
	var grow func(depth int) nartest.Node
	grow = func(depth int) nartest.Node {
		switch k := rnd.IntN(6); {
		case depth == 0 || k == 0:
			return nartest.File(strings.Repeat("contents ", rnd.IntN(40)))
		case k == 1:
			return nartest.Symlink("target")
		}
		d := nartest.Dir{}
		for range rnd.IntN(6) {
			name := fmt.Sprintf("%c", letters[rnd.IntN(len(letters))])
			if rnd.IntN(2) == 0 {
				name = hashOf(name[0]) + "-" + name
			}
			d[name] = grow(depth - 1)
		}
		return d
	}
	for range 1000 {
		to := []byte(letters)
		rnd.Shuffle(len(to), func(i, k int) { to[i], to[k] = to[k], to[i] })
		var list []rules.Rule
		for i := range 1 + rnd.IntN(4) {
			if letters[i] != to[i] {
				list = append(list, rules.Rule{From: hashOf(letters[i]), To: hashOf(to[i])})
			}
		}
		if len(list) == 0 {
			continue
		}
		tree := nartest.Dir{"x": grow(4), hashOf('a'): grow(3)}
		checkMoves(t, tree, list, int64(rnd.IntN(600)))
	}
}

// What moves restores, and nix-store dumps it as it was written.
func TestMovedTreeRestores(t *testing.T) {
	tree := nartest.Dir{
		"0":                  nartest.File("first"),
		hashOf('b') + "-dir": nartest.Dir{hashOf('b'): nartest.Exec("x"), "z": nartest.File("y")},
		"m":                  nartest.Symlink(hashOf('b')),
	}
	for _, to := range []byte("0ansz") {
		c := filter.Config{Rules: compile(t, rules.Rule{From: hashOf('b'), To: hashOf(to)})}
		out, err := seekable(t, c, nartest.Tree(tree))
		if err != nil {
			t.Fatal(err)
		}
		if got := nartest.Dump(t, nartest.Restore(t, out)); !bytes.Equal(got, out) {
			t.Errorf("to %c: nix-store dumps %q, want %q", to, got, out)
		}
	}
}

// A cut in an input that is read twice is found before anything is written.
func TestOrderOfTruncatedInput(t *testing.T) {
	in := nartest.Tree(nartest.Dir{hashOf('b'): nartest.File(strings.Repeat("x", 100)), "c": nartest.Dir{"d": nartest.File("")}})
	c := filter.Config{Rules: compile(t, rules.Rule{From: hashOf('b'), To: hashOf('d')})}
	for n := range in {
		var out bytes.Buffer
		_, err := c.RunAt(&out, bytes.NewReader(in), int64(n), nil)
		if !errors.Is(err, io.ErrUnexpectedEOF) || out.Len() != 0 {
			t.Fatalf("cut at %d: want an unexpected end and no output, got %v and %d bytes", n, err, out.Len())
		}
	}
}

// One rename in a large directory moves one entry.
func TestMoveInLargeDirectory(t *testing.T) {
	var names []string
	for i := range 20000 {
		names = append(names, fmt.Sprintf("%05d-%s", i, hashOf('c')))
	}
	d := nartest.Entries{{Name: hashOf('b'), Node: nartest.File("moved")}}
	slices.Sort(names)
	var want nartest.Entries
	for _, n := range names {
		want = append(want, nartest.Entry{Name: n, Node: nartest.File(n)})
	}
	in := nartest.Tree(append(slices.Clone(want), d...))
	c := filter.Config{Rules: compile(t, rules.Rule{From: hashOf('b'), To: hashOf('0')})}
	got, err := seekable(t, c, in)
	if err != nil {
		t.Fatal(err)
	}
	// A name of zeros stands between 00000-… and 00001-….
	moved := nartest.Entry{Name: hashOf('0'), Node: nartest.File("moved")}
	if !bytes.Equal(got, nartest.Tree(slices.Insert(want, 1, moved))) {
		t.Error("the entry did not move to its place")
	}
}
