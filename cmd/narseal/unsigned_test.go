package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"narseal/macho/machotest"
	"narseal/nar/compression"
	"narseal/nar/nartest"
)

const (
	cpuX8664 = 0x01000007
	cpuARM64 = 0x0100000c
)

// unsignedTree returns a tree of unsigned files, and the paths and architectures of those slices that do not run without a
// signature.
func unsignedTree() (tree nartest.Dir, want []string) {
	build := func(cpu, fileType uint32) []byte {
		data, _ := machotest.Image{CPU: cpu, FileType: fileType, Directories: []machotest.Directory{{PageShift: 12}}}.Build()
		return data
	}
	unsigned := func(cpu, fileType uint32) []byte { return machotest.Unsigned(build(cpu, fileType)) }
	slice := func(cpu uint32, data []byte) machotest.Slice { return machotest.Slice{CPU: cpu, Data: data} }
	program := unsigned(cpuARM64, 2)
	archive := []byte("!<arch>\n")
	return nartest.Dir{
			"bin": nartest.Dir{
				"both":     nartest.Exec(machotest.Fat(false, false, slice(cpuX8664, unsigned(cpuX8664, 2)), slice(cpuARM64, program))),
				"intel":    nartest.Exec(unsigned(cpuX8664, 2)),
				"long":     nartest.Exec(machotest.LongCommands(program, 9000)),
				"mixed":    nartest.Exec(machotest.Fat(false, false, slice(cpuX8664, build(cpuX8664, 2)), slice(cpuARM64, program))),
				"other":    nartest.Exec(machotest.Fat(false, false, slice(cpuX8664, unsigned(cpuX8664, 2)), slice(cpuARM64, build(cpuARM64, 2)))),
				"program":  nartest.Exec(program),
				"script":   nartest.Exec("#!/bin/sh\n"),
				"versions": nartest.Exec(machotest.BuiltFor(program, machotest.MacOS)),
			},
			"lib": nartest.Dir{
				"bundle.so":      nartest.File(unsigned(cpuARM64, 8)),
				"dSYM":           nartest.File(unsigned(cpuARM64, 10)),
				"dyld":           nartest.File(unsigned(cpuARM64, 7)),
				"dylib":          nartest.File(unsigned(cpuARM64, 6)),
				"iOS":            nartest.File(machotest.BuiltFor(program, machotest.IOS)),
				"object.o":       nartest.File(unsigned(cpuARM64, 1)),
				"simulator":      nartest.File(machotest.BuiltFor(program, machotest.IOSSimulator)),
				"static.a":       nartest.File(archive),
				"static-fat.a":   nartest.File(machotest.Fat(false, false, slice(cpuX8664, archive), slice(cpuARM64, archive))),
				"truncated":      nartest.File(program[:100]),
				"truncated-prog": nartest.File(program[:20]),
			},
		}, []string{"/bin/both arm64", "/bin/long arm64", "/bin/mixed arm64", "/bin/program arm64", "/bin/versions arm64",
			"/lib/bundle.so arm64", "/lib/dyld arm64", "/lib/dylib arm64", "/lib/truncated arm64"}
}

// unsignedInputs returns the arguments of verify for each form in which it takes a tree, and its stdin.
func unsignedInputs(t *testing.T, tree nartest.Dir) map[string]struct {
	stdin []byte
	args  []string
} {
	dir := t.TempDir()
	archive := nartest.Tree(tree)
	packed := filepath.Join(dir, "packed.nar.zst")
	writeFile(t, packed, compressed(archive, compression.Zstd))
	cache := filepath.Join(dir, "cache")
	writeMember(t, cache, strings.Repeat("1", 32)+"-x", archive, compression.Xz, nil)
	files := nartest.Restore(t, archive)
	type input = struct {
		stdin []byte
		args  []string
	}
	return map[string]input{
		"directory":          {nil, []string{"verify", files}},
		"directory, one job": {nil, []string{"verify", "-j", "1", files}},
		"archive":            {archive, []string{"verify"}},
		"packed archive":     {nil, []string{"verify", packed}},
		"little memory":      {nil, []string{"verify", "--hold-memory", "1000", packed}},
		"export stream":      {exported("/nix/store/"+strings.Repeat("1", 32)+"-x", nil, archive), []string{"verify"}},
		"cache":              {nil, []string{"cache", "verify", cache}},
	}
}

// TestUnsigned verifies unsigned code in every form of input, and with every value of --unsigned. What the JSON lists is
// the oracle for the other formats.
func TestUnsigned(t *testing.T) {
	tree, want := unsignedTree()
	for name, in := range unsignedInputs(t, tree) {
		t.Run(name, func(t *testing.T) {
			verify := func(args ...string) outcome {
				return invoke(bytes.NewReader(in.stdin), append(slices.Clone(in.args), args...)...)
			}
			for _, policy := range []string{"", "fail", "warn", "ignore"} {
				args, status := []string{"--format", "json"}, statusDone
				if policy != "" {
					args = append(args, "--unsigned", policy)
				}
				if policy == "" || policy == "fail" {
					status = statusInvalid
				}
				o := verify(args...)
				if o.status != status || o.stderr != "" {
					t.Fatalf("--unsigned %s: status %d, want %d: %s", policy, o.status, status, o.stderr)
				}
				failed, warned := unsignedSlices(t, o.stdout)
				got, none := failed, warned
				switch policy {
				case "warn":
					got, none = warned, failed
				case "ignore":
					got, none = want, append(warned, failed...)
				}
				if !slices.Equal(got, want) || len(none) > 0 {
					t.Errorf("--unsigned %s lists %q, and otherwise %q; want %q", policy, got, none, want)
				}
			}

			o := verify()
			if n := strings.Count(o.stdout, "unsigned     arm64     none  "); n != len(want) || !strings.HasSuffix(o.stdout, fmt.Sprintf("; %d missing signatures\n"+
				"narseal makes no new signatures: build the program again, or run codesign --sign - on a Mac.\n", len(want))) {
				t.Errorf("%d rows:\n%s", n, o.stdout)
			}
			o = verify("--unsigned", "warn")
			if n := strings.Count(o.stdout, "  warning: on arm64, macOS runs no code without a signature\n"); n != len(want) || !strings.HasSuffix(o.stdout, "every signature is valid\n") {
				t.Errorf("%d warnings:\n%s", n, o.stdout)
			}
			o = verify("--unsigned", "ignore")
			if strings.Count(o.stdout, "\n") != 1 {
				t.Errorf("--unsigned ignore:\n%s", o.stdout)
			}
			for policy, level := range map[string]string{"fail": "::error ", "warn": "::warning "} {
				o := verify("--unsigned", policy, "--format", "github")
				if n := strings.Count(o.stdout, level); n != len(want) || strings.Count(o.stdout, "title=signature%3A unsigned::") != n {
					t.Errorf("%d annotations %s:\n%s", n, level, o.stdout)
				}
			}
		})
	}
}

// unsignedSlices returns the unsigned slices in JSON lines that fail or have a warning, in order.
func unsignedSlices(t *testing.T, lines string) (failed, warned []string) {
	t.Helper()
	for line := range strings.Lines(lines) {
		var s struct {
			Path, Arch, Status, Signature, Reason string
			NeedsSignature                        bool
			Warnings                              []string
		}
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatal(err)
		}
		s.Path = s.Path[max(0, strings.LastIndex(s.Path, "/bin/"), strings.LastIndex(s.Path, "/lib/")):]
		switch {
		case s.Status != "unsigned":
			if s.NeedsSignature || s.Status != "valid" {
				t.Errorf("%s", line)
			}
		case s.NeedsSignature && s.Reason != "" && len(s.Warnings) == 0:
			failed = append(failed, s.Path+" "+s.Arch)
		case len(s.Warnings) == 1 && !s.NeedsSignature:
			warned = append(warned, s.Path+" "+s.Arch)
		}
	}
	return failed, warned
}

// TestUnsignedHTML checks the HTML report.
func TestUnsignedHTML(t *testing.T) {
	tree, want := unsignedTree()
	dir := nartest.Restore(t, nartest.Tree(tree))
	page := htmlReport(t, 3, dir)
	if n := strings.Count(page, `<span class="status bad">unsigned</span></td>`); n != len(want) || !strings.Contains(page, fmt.Sprintf("<h1>%d missing signatures</h1>", len(want))) {
		t.Errorf("%d rows, want %d", n, len(want))
	}
	page = htmlReport(t, 0, "--unsigned", "warn", dir)
	if n := strings.Count(page, "Warning: on arm64, macOS runs no code without a signature."); n != len(want) {
		t.Errorf("%d warnings, want %d", n, len(want))
	}
}

// TestUnsignedFile verifies an unsigned image in a file of its own, and on stdin.
func TestUnsignedFile(t *testing.T) {
	tree, _ := unsignedTree()
	data := []byte(tree["bin"].(nartest.Dir)["program"].(nartest.Exec))
	name := filepath.Join(t.TempDir(), "program")
	writeFile(t, name, data)
	for _, args := range [][]string{{"verify", name}, {"verify"}} {
		if o := invoke(bytes.NewReader(data), args...); o.status != statusInvalid || !strings.Contains(o.stdout, "; 1 missing signature\n") {
			t.Errorf("%q: status %d\n%s%s", args, o.status, o.stdout, o.stderr)
		}
		if o := invoke(bytes.NewReader(data), append(args, "--unsigned", "warn")...); o.status != statusDone || !strings.Contains(o.stdout, "\n  warning: ") {
			t.Errorf("%q: status %d\n%s%s", args, o.status, o.stdout, o.stderr)
		}
	}
	if o := invoke(nil, "verify", "--unsigned", "other", name); o.status != statusUsage {
		t.Errorf("status %d", o.status)
	}
}

// TestUnsignedRepair checks that repair passes unsigned code on as it is, and counts it in a warning; rewrite says nothing.
func TestUnsignedRepair(t *testing.T) {
	tree, want := unsignedTree()
	archive := nartest.Tree(tree)
	warning := fmt.Sprintf("narseal: warning: %d signatures are missing: ", len(want))
	check := func(what string, o outcome, warned bool) {
		t.Helper()
		if o.status != statusDone || strings.HasPrefix(o.stderr, warning) != warned || !warned && o.stderr != "" {
			t.Errorf("%s: status %d: %s", what, o.status, o.stderr)
		}
	}
	o := invoke(bytes.NewReader(archive), "repair")
	check("repair", o, true)
	if o.stdout != string(archive) {
		t.Error("repair changed the archive")
	}
	check("repair -q", invoke(bytes.NewReader(archive), "repair", "-q"), false)
	o = invoke(bytes.NewReader(archive), "rewrite", "-m", hashA+"="+hashB, "-q")
	check("rewrite", o, false)
	if o.stdout != string(archive) {
		t.Error("rewrite changed the archive")
	}

	dir := nartest.Restore(t, archive)
	check("repair --in-place", invoke(nil, "repair", "--in-place", dir), true)
	if !bytes.Equal(nartest.Dump(t, dir), archive) {
		t.Error("repair --in-place changed the tree")
	}
	cache := t.TempDir()
	writeMember(t, cache, strings.Repeat("1", 32)+"-x", archive, compression.None, nil)
	before := filesOf(t, cache)
	check("cache repair", invoke(nil, "cache", "repair", cache), true)
	if after := filesOf(t, cache); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Error("cache repair changed the cache")
	}

	// The report lists them, with a warning each.
	report := filepath.Join(t.TempDir(), "report")
	for _, args := range [][]string{{"repair"}, {"rewrite", "-q", "-m", hashA + "=" + hashB}} {
		o := invoke(bytes.NewReader(archive), append(args, "--report", report)...)
		text, err := os.ReadFile(report)
		if err != nil || o.status != statusDone {
			t.Fatalf("%q: status %d, %v: %s", args, o.status, err, o.stderr)
		}
		if n := strings.Count(string(text), "macOS runs no code without a signature"); n != len(want) {
			t.Errorf("%q: %d in the report, want %d", args, n, len(want))
		}
	}
}

// A universal file that was cut or damaged has the same status in every form of input, and no run that repairs it ends well,
// also if none of its slices has a signature.
func TestBrokenUniversalFile(t *testing.T) {
	build := func(cpu uint32) []byte {
		data, _ := machotest.Image{CPU: cpu, Text: []byte(hashA), Directories: []machotest.Directory{{PageShift: 12}}}.Build()
		return data
	}
	fat := func(intel, arm []byte) []byte {
		return machotest.Fat(false, false, machotest.Slice{CPU: cpuX8664, Sub: 3, Data: intel}, machotest.Slice{CPU: cpuARM64, Data: arm})
	}
	whole := fat(build(cpuX8664), build(cpuARM64))
	bare := machotest.Unsigned(build(cpuX8664))
	for name, c := range map[string]struct {
		data   []byte
		broken int
	}{
		"cut before its slices":     {whole[:10_000], 2},
		"cut behind its table":      {whole[:48], 2},
		"cut in its table":          {whole[:30], 1},
		"arm64 has other bytes":     {fat(bare, bytes.Repeat([]byte("x"), 20_000)), 1},
		"arm64 has no bytes":        {fat(bare, nil), 1},
		"arm64 is cut, none signed": {fat(bare, machotest.Unsigned(build(cpuARM64))[:20]), 1},
	} {
		tree := nartest.Dir{"bin": nartest.Dir{"program": nartest.Exec(c.data)}}
		archive := nartest.Tree(tree)
		malformed := func(o outcome, what string) {
			t.Helper()
			if n := strings.Count(o.stdout, `"status":"malformed"`); o.status != statusInvalid || n != c.broken {
				t.Errorf("%s, %s: status %d, %d malformed slices, want %d: %s%s", name, what, o.status, n, c.broken, o.stdout, o.stderr)
			}
		}
		for form, in := range unsignedInputs(t, tree) {
			malformed(invoke(bytes.NewReader(in.stdin), append(in.args, "--format", "json")...), form)
			malformed(invoke(bytes.NewReader(in.stdin), append(in.args, "--format", "json", "--unsigned", "ignore")...), form)
		}
		export := exported("/nix/store/"+strings.Repeat("1", 32)+"-x", nil, archive)
		rule := hashA + "=" + hashB
		named := func(what string, o outcome) {
			t.Helper()
			if o.status != statusInvalid || strings.Count(o.stderr, "program") != c.broken {
				t.Errorf("%s, %s: status %d: %s", name, what, o.status, o.stderr)
			}
		}
		for _, args := range [][]string{{"repair"}, {"rewrite", "-m", hashB + "=" + hashA, "--repair", "all"}} {
			for _, input := range [][]byte{archive, export} {
				o := invoke(bytes.NewReader(input), args...)
				named(strings.Join(args, " "), o)
				if o.stdout != string(input) {
					t.Errorf("%s, %q: the output is another", name, args)
				}
			}
		}
		if bytes.Contains(c.data, []byte(hashA)) {
			if o := invoke(bytes.NewReader(archive), "rewrite", "-m", rule); o.status != statusInvalid || !strings.Contains(o.stderr, "error: repair \"/bin/program\"") {
				t.Errorf("%s, rewrite: status %d: %s", name, o.status, o.stderr)
			}
		}
		dir := nartest.Restore(t, archive)
		named("repair --in-place", invoke(nil, "repair", "--in-place", dir))
		if !bytes.Equal(nartest.Dump(t, dir), archive) {
			t.Errorf("%s: repair --in-place changed the file", name)
		}
		cache := t.TempDir()
		writeMember(t, cache, strings.Repeat("1", 32)+"-x", archive, compression.None, nil)
		named("cache repair", invoke(nil, "cache", "repair", cache))
	}
}
