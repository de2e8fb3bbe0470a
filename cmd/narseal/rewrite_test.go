package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"narseal/nar"
	"narseal/nar/nartest"
)

// outcome is how a run of the program in this process ended.
type outcome struct {
	status         int
	stdout, stderr string
}

// invoke runs the program in this process.
func invoke(stdin io.Reader, args ...string) outcome {
	var stdout, stderr bytes.Buffer
	status := run(context.Background(), append([]string{"narseal"}, args...), stdin, &stdout, &stderr)
	return outcome{status, stdout.String(), stderr.String()}
}

// want fails the test unless the run ended with this status and wrote this,
// and, where it was done, nothing to stderr.
func (o outcome) want(t *testing.T, status int, stdout []byte) {
	t.Helper()
	if o.status != status {
		t.Fatalf("status %d, want %d; stderr: %s", o.status, status, o.stderr)
	}
	if status == statusDone && o.stderr != "" {
		t.Errorf("stderr: %s", o.stderr)
	}
	if o.stdout != string(stdout) {
		t.Errorf("stdout differs from what is wanted: %s", difference([]byte(o.stdout), stdout))
	}
}

func difference(got, want []byte) string {
	n := 0
	for n < len(got) && n < len(want) && got[n] == want[n] {
		n++
	}
	return strings.Join([]string{
		"first at", strconv.Itoa(n), "of", strconv.Itoa(len(got)), "bytes, want", strconv.Itoa(len(want)),
	}, " ")
}

var (
	hashA = strings.Repeat("a", 32) // in the goldens of side A
	hashB = strings.Repeat("b", 32)
)

const (
	sampleHash  = "c7pxwlricrjnrk7ymhzfzig1gh9m971s"
	sampleOther = "zs4w5ny0jq3ijrad3la4a6rvbn4bpiyx"
)

func readTestdata(t testing.TB, name ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../../testdata", filepath.Join(name...)))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// goldens are the names of the golden pairs.
func goldens(t testing.TB) []string {
	t.Helper()
	list, err := os.ReadDir("../../testdata/macho/goldens/A")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	if len(names) < 11 {
		t.Fatalf("only the goldens %q are there", names)
	}
	return names
}

// goldenNAR is an archive of a store path with a golden image in it, and with
// all else that can mention the path: text, a symlink and a name.
func goldenNAR(t testing.TB, side, name string) []byte {
	hash := map[string]string{"A": hashA, "B": hashB}[side]
	return nartest.Tree(nartest.Dir{
		"bin":  nartest.Dir{name: nartest.Exec(readTestdata(t, "macho/goldens", side, name))},
		"lib":  nartest.Symlink("/nix/store/" + hash + "-x/lib"),
		"meta": nartest.Dir{hash + ".drv": nartest.File(""), "refs": nartest.File("/nix/store/" + hash + "-x\n")},
		"zero": nartest.File(strings.Repeat("\x00", 1000)),
	})
}

// Two builds that differ in a store hash were linked and signed on their own:
// either one rewritten must be the other one.
func TestRewriteGoldens(t *testing.T) {
	for _, name := range goldens(t) {
		a, b := goldenNAR(t, "A", name), goldenNAR(t, "B", name)
		for _, way := range []struct {
			rule    string
			in, out []byte
		}{
			{hashA + "=" + hashB, a, b},
			{hashB + "=" + hashA, b, a},
		} {
			t.Run(name+"/"+way.rule[:1], func(t *testing.T) {
				dir := t.TempDir()
				file, out := filepath.Join(dir, "in.nar"), filepath.Join(dir, "out.nar")
				if err := os.WriteFile(file, way.in, 0o666); err != nil {
					t.Fatal(err)
				}
				invoke(nil, "rewrite", "--map", way.rule, file).want(t, statusDone, way.out)
				invoke(bytes.NewReader(way.in), "rewrite", "--map", way.rule).want(t, statusDone, way.out)
				invoke(iotest.HalfReader(bytes.NewReader(way.in)), "rewrite", "--map", way.rule, "-").want(t, statusDone, way.out)
				invoke(bytes.NewReader(way.in), "rewrite", "--map", way.rule, "--hold-memory", "1").want(t, statusDone, way.out)
				invoke(nil, "rewrite", "--map", way.rule, "--output", out, file).want(t, statusDone, nil)
				if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, way.out) {
					t.Errorf("--output: %v, %s", err, difference(got, way.out))
				}

				cmd := exec.Command("narseal", "rewrite", "-m", way.rule)
				cmd.Stdin = bytes.NewReader(way.in) // a pipe, which os/exec fills
				got, err := cmd.Output()
				if err != nil || !bytes.Equal(got, way.out) {
					t.Errorf("through pipes: %v, %s", err, difference(got, way.out))
				}
			})
		}
	}
}

// The main job: nix-store --dump P | narseal rewrite | nix-store --restore Q.
func TestRewriteBetweenNixStores(t *testing.T) {
	nixStore := nartest.Tool(t, "nix-store")
	for _, name := range goldens(t) {
		sides := map[string][]byte{"A": goldenNAR(t, "A", name), "B": goldenNAR(t, "B", name)}
		for from, to := range map[string]string{"A": "B", "B": "A"} {
			t.Run(name+"/"+from, func(t *testing.T) {
				in := nartest.Restore(t, sides[from])
				out := filepath.Join(t.TempDir(), "out")
				rule := map[string]string{"A": hashA + "=" + hashB, "B": hashB + "=" + hashA}[from]
				pipeline(t, exec.Command(nixStore, "--dump", in),
					exec.Command("narseal", "rewrite", "--map", rule),
					exec.Command(nixStore, "--restore", out))
				if got := nartest.Dump(t, out); !bytes.Equal(got, sides[to]) {
					t.Errorf("restored another tree: %s", difference(got, sides[to]))
				}
			})
		}
	}
}

// pipeline runs commands, each with its stdout piped to the next one's stdin.
// All of them must succeed and say nothing.
func pipeline(t *testing.T, cmds ...*exec.Cmd) {
	t.Helper()
	stderrs := make([]bytes.Buffer, len(cmds))
	for i, cmd := range cmds {
		cmd.Stderr = &stderrs[i]
		if i+1 < len(cmds) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			cmd.Stdout, cmds[i+1].Stdin = w, r
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if w, ok := cmd.Stdout.(*os.File); ok {
			w.Close()
		}
	}
	for _, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", cmd.Args[:2], err)
		}
	}
	for i := range stderrs {
		if stderrs[i].Len() > 0 {
			t.Errorf("stderr: %s", &stderrs[i])
		}
	}
}

// Nothing matches: the archive comes out byte for byte the same.
func TestRewriteWithoutMatch(t *testing.T) {
	rule := strings.Repeat("c", 32) + "=" + strings.Repeat("d", 32)
	for _, name := range goldens(t) {
		in := goldenNAR(t, "A", name)
		invoke(bytes.NewReader(in), "rewrite", "-q", "--map", rule).want(t, statusDone, in)
		invoke(bytes.NewReader(in), "rewrite", "-q", "--map", rule, "--repair", "all").want(t, statusDone, in)
	}
}

// fixtures are the archives that are cut and damaged, with a rule that
// changes each of them, and what it makes of them.
func fixtures(t testing.TB) map[string]fixture {
	all := map[string]fixture{
		"sample": {readTestdata(t, "sample.nar"), readTestdata(t, "sample-rewritten.nar"), sampleHash + "=" + sampleOther},
		"small": {
			nartest.Tree(nartest.Dir{
				"a":     nartest.Dir{"empty": nartest.File(""), "x": nartest.Exec("#!/bin/sh\n" + hashA)},
				"dir":   nartest.Dir{"dir": nartest.Dir{}},
				"link":  nartest.Symlink("/nix/store/" + hashA + "-x"),
				"plain": nartest.File("12345678"),
			}),
			nartest.Tree(nartest.Dir{
				"a":     nartest.Dir{"empty": nartest.File(""), "x": nartest.Exec("#!/bin/sh\n" + hashB)},
				"dir":   nartest.Dir{"dir": nartest.Dir{}},
				"link":  nartest.Symlink("/nix/store/" + hashB + "-x"),
				"plain": nartest.File("12345678"),
			}),
			hashA + "=" + hashB,
		},
		"file":    {nartest.Tree(nartest.File(hashA)), nartest.Tree(nartest.File(hashB)), hashA + "=" + hashB},
		"symlink": {nartest.Tree(nartest.Symlink(hashA)), nartest.Tree(nartest.Symlink(hashB)), hashA + "=" + hashB},
	}
	for _, name := range goldens(t) {
		all[name] = fixture{goldenNAR(t, "A", name), goldenNAR(t, "B", name), hashA + "=" + hashB}
	}
	return all
}

type fixture struct {
	in, out []byte
	rule    string
}

// cuts are the lengths to which an archive of size bytes is cut: those near
// its ends, where its structure lies, and some between. NARSEAL_LONG=1 makes
// that 64 KiB at each end, all of most fixtures.
func cuts(size int) []int {
	edge, stride := 400, max(509, size/200)
	switch {
	case os.Getenv("NARSEAL_LONG") == "1":
		edge, stride = 64<<10, 4093
	case testing.Short() || raceEnabled:
		edge, stride = 300, max(4093, size/20)
	}
	var list []int
	for n := range size {
		if n < edge || n >= size-edge || n%stride == 0 {
			list = append(list, n)
		}
	}
	return list
}

// Every archive that is cut short is an error, and what came out is never a
// complete archive: it is less than what the whole archive gives.
func TestRewriteCut(t *testing.T) {
	for name, f := range fixtures(t) {
		t.Run(name, func(t *testing.T) {
			for i, n := range cuts(len(f.in)) {
				o := invoke(bytes.NewReader(f.in[:n]), "rewrite", "--map", f.rule)
				if o.status != statusError || !strings.HasPrefix(o.stderr, "narseal: error: nar: read") ||
					!strings.Contains(o.stderr, io.ErrUnexpectedEOF.Error()) {
					t.Fatalf("cut at %d: status %d, stderr %s", n, o.status, o.stderr)
				}
				if len(o.stdout) >= len(f.out) || !bytes.HasPrefix(f.out, []byte(o.stdout)) {
					t.Fatalf("cut at %d: wrote %d bytes, want less than %d and nothing else", n, len(o.stdout), len(f.out))
				}
				if i%64 == 0 && complete([]byte(o.stdout)) {
					t.Fatalf("cut at %d: the output is a complete archive", n)
				}
			}
		})
	}
}

// complete tells whether b is a complete archive.
func complete(b []byte) bool {
	r := nar.NewReader(bytes.NewReader(b))
	for {
		if _, err := r.Next(); err != nil {
			return err == io.EOF
		}
	}
}

// Nor does nix-store take what a cut archive gives.
func TestRewriteCutForNix(t *testing.T) {
	nartest.Tool(t, "nix-store")
	f := fixtures(t)["small"]
	for n := len(f.in) - 1; n > 0; n -= 61 {
		o := invoke(bytes.NewReader(f.in[:n]), "rewrite", "--map", f.rule)
		if _, err := nartest.TryRestore(t, []byte(o.stdout)); err == nil {
			t.Fatalf("cut at %d: nix-store restores the output", n)
		}
	}
}

// An output file appears only when it is complete: after an error the old one
// is there, or none, and nothing beside it.
func TestRewriteCutLeavesNoFile(t *testing.T) {
	for name, f := range fixtures(t) {
		dir := t.TempDir()
		in, fresh, old := filepath.Join(dir, "in"), filepath.Join(dir, "fresh"), filepath.Join(dir, "old")
		if err := os.WriteFile(old, []byte("old"), 0o666); err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{0, 7, 8, 100, len(f.in) / 2, len(f.in) - 17, len(f.in) - 16, len(f.in) - 8, len(f.in) - 1} {
			if err := os.WriteFile(in, f.in[:min(n, len(f.in))], 0o666); err != nil {
				t.Fatal(err)
			}
			for _, out := range []string{fresh, old} {
				invoke(nil, "rewrite", "--map", f.rule, "-o", out, in).want(t, statusError, nil)
			}
			list, err := os.ReadDir(dir)
			if err != nil || len(list) != 2 {
				t.Fatalf("%s cut at %d: %v, the directory holds %v", name, n, err, list)
			}
			if b, err := os.ReadFile(old); err != nil || string(b) != "old" {
				t.Fatalf("%s cut at %d: the old file holds %q, %v", name, n, b, err)
			}
		}
	}
}

// What follows an archive is an error as well.
func TestRewriteTrailingBytes(t *testing.T) {
	for name, f := range fixtures(t) {
		for _, more := range [][]byte{{0}, make([]byte, 8), f.in[:24], bytes.Repeat([]byte("x"), 300<<10)} {
			o := invoke(bytes.NewReader(append(bytes.Clone(f.in), more...)), "rewrite", "--map", f.rule)
			if o.status != statusError || len(o.stdout) >= len(f.out) || !strings.Contains(o.stderr, "offset "+strconv.Itoa(len(f.in))) {
				t.Errorf("%s with %d bytes after it: status %d, %d bytes of output, %s", name, len(more), o.status, len(o.stdout), o.stderr)
			}
		}
	}
}
