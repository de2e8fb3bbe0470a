package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	nixnar "github.com/nix-community/go-nix/pkg/nar"
	"github.com/rogpeppe/go-internal/testscript"

	"narseal/macho/machotest"
	"narseal/nar/nartest"
)

// TestMain also lets the test binary be narseal itself: scripts and tests
// find it on PATH under that name.
func TestMain(m *testing.M) {
	if raceEnabled {
		// A process with the race detector would wait a second at its end.
		os.Setenv("GORACE", "atexit_sleep_ms=0")
	}
	testscript.Main(ownState{m}, map[string]func(){"narseal": main, "peak": peak, "escape": escape})
}

// ownState runs the tests with a directory of their own for what the program remembers.
type ownState struct{ m *testing.M }

func (o ownState) Run() int {
	dir, err := os.MkdirTemp("", "narseal-state")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	os.Setenv("XDG_STATE_HOME", dir)
	return o.m.Run()
}

// TestScripts runs the scripts in testdata/script. Beside testscript's own
// commands they have those below, and in the environment TESTDATA, the
// repository's directory of fixtures, A and B, the hashes of the golden pairs,
// and two rules: AB, A=B, and SAMPLE, that of the sample.
func TestScripts(t *testing.T) {
	testdata, err := filepath.Abs("../../testdata")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			for name, value := range map[string]string{
				"TESTDATA": testdata,
				"GORACE":   os.Getenv("GORACE"),
				"A":        hashA,
				"B":        hashB,
				"AB":       hashA + "=" + hashB,
				"SAMPLE":   sampleHash + "=" + sampleOther,
			} {
				env.Setenv(name, value)
			}
			env.Setenv("XDG_STATE_HOME", filepath.Join(os.Getenv("XDG_STATE_HOME"), filepath.Base(env.WorkDir)))
			env.Values[scriptT{}] = env.T().(testing.TB)
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"status":    cmdStatus,
			"mkcache":   cmdMkcache,
			"mknar":     cmdMknar,
			"image":     cmdImage,
			"sealed":    cmdSealed,
			"entries":   cmdEntries,
			"replace":   cmdReplace,
			"damage":    cmdDamage,
			"truncate":  cmdTruncate,
			"tool":      cmdTool,
			"temporary": cmdTemporary,
			"landlock":  cmdLandlock,
		},
	})
}

type scriptT struct{}

// cmdStatus runs a program and wants exactly this exit status:
//
//	status N PROGRAM [ARG…]
func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N PROGRAM [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%s: %v", args[1], err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("%s ended with status %d, want %d", args[1], got, want)
	}
}

// cmdMknar archives a file or directory by an encoder that is not narseal's:
//
//	mknar FILE PATH
func cmdMknar(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mknar FILE PATH")
	}
	root, err := readNode(ts.MkAbs(args[1]))
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), nartest.Tree(root), 0o666))
}

func readNode(path string) (nartest.Node, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		list, err := os.ReadDir(path)
		if err != nil {
			return nil, err
		}
		dir := nartest.Dir{}
		for _, e := range list {
			if dir[e.Name()], err = readNode(filepath.Join(path, e.Name())); err != nil {
				return nil, err
			}
		}
		return dir, nil
	case mode&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		return nartest.Symlink(target), err
	case mode.IsRegular():
		data, err := os.ReadFile(path)
		if mode&0o100 != 0 {
			return nartest.Exec(data), err
		}
		return nartest.File(data), err
	}
	return nil, fmt.Errorf("%s: %s has no place in an archive", path, info.Mode())
}

// cmdImage writes an image of package machotest's matrix:
//
//	image FILE CASE
func cmdImage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: image FILE CASE")
	}
	for _, c := range machotest.Matrix(strings.Repeat("a", 32)) {
		if c.Name == args[1] {
			ts.Check(os.WriteFile(ts.MkAbs(args[0]), c.Data, 0o777))
			return
		}
	}
	ts.Fatalf("no case %q in the matrix", args[1])
}

// cmdSealed writes an image whose special slot -1 holds the hash of a file:
//
//	sealed FILE INFO-PLIST
func cmdSealed(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: sealed FILE INFO-PLIST")
	}
	data, _ := machotest.Image{
		Directories: []machotest.Directory{{PageShift: 12}},
		External:    map[int][]byte{1: []byte(ts.ReadFile(args[1]))},
	}.Build()
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o777))
}

// cmdEntries lists an archive on stdout as go-nix reads it, a line an entry:
// its path, its type ("executable" for a file that is), and its size or its
// symlink's target.
//
//	entries FILE
func cmdEntries(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: entries FILE")
	}
	r, err := nixnar.NewReader(bytes.NewReader([]byte(ts.ReadFile(args[0]))))
	ts.Check(err)
	for {
		h, err := r.Next()
		if err == io.EOF {
			return
		}
		ts.Check(err)
		switch {
		case h.Type == nixnar.TypeSymlink:
			fmt.Fprintln(ts.Stdout(), h.Path, h.Type, h.LinkTarget)
		case h.Executable:
			fmt.Fprintln(ts.Stdout(), h.Path, "executable", h.Size)
		case h.Type == nixnar.TypeRegular:
			fmt.Fprintln(ts.Stdout(), h.Path, h.Type, h.Size)
		default:
			fmt.Fprintln(ts.Stdout(), h.Path, h.Type)
		}
	}
}

// cmdReplace replaces every occurrence of a string in a file, without regard
// to what the file is:
//
//	replace FILE OLD NEW
func cmdReplace(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: replace FILE OLD NEW")
	}
	in := []byte(ts.ReadFile(args[0]))
	out := bytes.ReplaceAll(in, []byte(args[1]), []byte(args[2]))
	if bytes.Equal(in, out) {
		ts.Fatalf("%s does not hold %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), out, 0o666))
}

// cmdDamage inverts a byte of a file:
//
//	damage FILE OFFSET
func cmdDamage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: damage FILE OFFSET")
	}
	data := []byte(ts.ReadFile(args[0]))
	off, err := strconv.ParseInt(args[1], 0, 64)
	ts.Check(err)
	if off < 0 || off >= int64(len(data)) {
		ts.Fatalf("%s has %d bytes", args[0], len(data))
	}
	data[off] ^= 0xff
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o666))
}

// cmdTruncate cuts a file to this size, or with a negative one by that much:
//
//	truncate FILE SIZE
func cmdTruncate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: truncate FILE SIZE")
	}
	size, err := strconv.ParseInt(args[1], 0, 64)
	ts.Check(err)
	if size < 0 {
		size += int64(len(ts.ReadFile(args[0])))
	}
	ts.Check(os.Truncate(ts.MkAbs(args[0]), size))
}

// cmdTool skips the script where a program is missing, as nartest.Tool does:
//
//	tool PROGRAM…
func cmdTool(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: tool PROGRAM...")
	}
	for _, name := range args {
		nartest.Tool(ts.Value(scriptT{}).(testing.TB), name)
	}
}

// cmdTemporary tells whether temporary files were left, in TMPDIR or under a
// name that a half-written output of narseal has in the script's directory:
//
//	! temporary
func cmdTemporary(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 0 {
		ts.Fatalf("usage: [!] temporary")
	}
	left, err := temporaryFiles(ts.Getenv("TMPDIR"), ts.MkAbs("."))
	ts.Check(err)
	if neg && len(left) > 0 {
		ts.Fatalf("left behind: %q", left)
	}
	if !neg && len(left) == 0 {
		ts.Fatalf("no temporary file")
	}
}

// temporaryFiles lists all that lies in tmp, and the hidden files of the
// other directories.
func temporaryFiles(tmp string, dirs ...string) ([]string, error) {
	left, err := filepath.Glob(filepath.Join(tmp, "*"))
	for _, dir := range dirs {
		if err == nil {
			var hidden []string
			hidden, err = filepath.Glob(filepath.Join(dir, ".*"))
			for _, name := range hidden {
				if name != tmp {
					left = append(left, name)
				}
			}
		}
	}
	return left, err
}
