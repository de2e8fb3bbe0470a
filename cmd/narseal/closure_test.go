package main

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"narseal/macho"
	"narseal/nar/nartest"
)

// closurePath is one store path of a closure that a test imports.
type closurePath struct {
	path, deriver string
	refs          []string
	tree          nartest.Node
}

// exportOf is the stream that nix-store --export writes, by another encoder
// than narseal's.
func exportOf(closure []closurePath) []byte {
	number := func(b []byte, n uint64) []byte { return binary.LittleEndian.AppendUint64(b, n) }
	var b []byte
	for _, p := range closure {
		b = append(number(b, 1), nartest.Tree(p.tree)...)
		b = number(b, 0x4558494e)
		b = append(b, nartest.Strings(p.path)...)
		b = number(b, uint64(len(p.refs)))
		b = append(b, nartest.Strings(p.refs...)...)
		b = append(b, nartest.Strings(p.deriver)...)
		b = number(b, 0)
	}
	return number(b, 0)
}

// A closure of three paths that refer to each other, one of them with a
// signed binary, goes from one store through narseal into another.
func TestExportedClosure(t *testing.T) { nartest.EachNix(t, testExportedClosure) }

func testExportedClosure(t *testing.T) {
	golden, err := os.ReadFile("../../testdata/macho/goldens/A/lld-arm64")
	if err != nil {
		t.Fatal(err)
	}
	hash := func(s string) string { return strings.Repeat(s, 32) }
	lib := "/nix/store/" + hash("c") + "-lib"
	app := "/nix/store/" + hash("a") + "-app" // the hash that the golden binary holds
	env := "/nix/store/" + hash("d") + "-env"
	closure := []closurePath{
		{path: lib, tree: nartest.Dir{"self": nartest.Symlink(lib + "/x"), "x": nartest.File("x")}, refs: []string{lib}},
		{path: app, tree: nartest.Dir{"bin": nartest.Dir{"hello": nartest.Exec(golden)}, "dep": nartest.File(lib)}, refs: []string{lib}},
		{path: env, tree: nartest.Dir{hash("a") + "-link": nartest.Symlink(app), "z": nartest.File(lib + " " + app)}, refs: []string{app, lib}},
	}
	from := nartest.Nix(t)
	from.Run(exportOf(closure), "nix-store", "--import")
	exported := from.Run(nil, "nix-store", "--export", lib, app, env)

	rules := []string{"-m", hash("a") + "=" + hash("b"), "-m", hash("c") + "=" + hash("f"), "-m", hash("d") + "=" + hash("g")}
	report := filepath.Join(t.TempDir(), "report.json")
	for _, extra := range [][]string{nil, {"--spool", "--report", report}} {
		cmd := exec.Command("narseal", append(append([]string{"rewrite"}, rules...), extra...)...)
		cmd.Stdin = bytes.NewReader(exported)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("narseal: %v: %s", err, stderr.Bytes())
		}
		if len(out) != len(exported) {
			t.Fatalf("got a stream of %d bytes, want %d as before", len(out), len(exported))
		}
		to := nartest.Nix(t)
		to.Run(out, "nix-store", "--import")
		to.Run(nil, "nix-store", "--verify", "--check-contents")

		newLib := "/nix/store/" + hash("f") + "-lib"
		newApp := "/nix/store/" + hash("b") + "-app"
		newEnv := "/nix/store/" + hash("g") + "-env"
		got := strings.Fields(string(to.Run(nil, "nix-store", "--query", "--requisites", newEnv)))
		for _, want := range []string{newLib, newApp, newEnv} {
			if !strings.Contains(strings.Join(got, " "), want) {
				t.Errorf("the closure of %s is %v, without %s", newEnv, got, want)
			}
		}
		binary, err := os.ReadFile(filepath.Join(to.Real(newApp), "bin", "hello"))
		if err != nil {
			t.Fatal(err)
		}
		rep, err := macho.Verify(macho.Bytes(binary))
		if err != nil || !rep.OK() || len(rep.Slices) == 0 {
			t.Errorf("the binary in the new store: %+v, %v", rep, err)
		}
		if target, err := os.Readlink(filepath.Join(to.Real(newEnv), hash("b")+"-link")); err != nil || target != newApp {
			t.Errorf("link: got %q, %v, want %q", target, err, newApp)
		}
	}
	b, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"format": "export"`, `"archives": [`, `"storePath": "/nix/store/` + hash("g") + `-env"`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("report: no %s in %s", want, b)
		}
	}
}
