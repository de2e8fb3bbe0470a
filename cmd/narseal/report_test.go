package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"narseal/nar/nartest"
)

// object is a JSON object.
type object = map[string]any

func readReport(t *testing.T, name string) object {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var report object
	if err := d.Decode(&report); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	if d.More() {
		t.Fatalf("more than one value in %s", b)
	}
	return report
}

// is wants a part of a report to be what a JSON text says.
func is(t *testing.T, what string, got any, want string) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(want))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		t.Fatalf("%s: %v in %s", what, err, want)
	}
	if !reflect.DeepEqual(got, value) {
		b, _ := json.Marshal(got)
		t.Errorf("%s is\n%s\nwant\n%s", what, b, want)
	}
}

func sri(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

func streamOf(b []byte) string {
	return `{"format": "nar", "compression": "none", "size": ` + strconv.Itoa(len(b)) + `, "narHash": "` + sri(b) + `"}`
}

// The whole report of an archive in which everything that can change does.
func TestReport(t *testing.T) {
	in, out := goldenNAR(t, "A", "lld-universal"), goldenNAR(t, "B", "lld-universal")
	name := filepath.Join(t.TempDir(), "report.json")
	other := strings.Repeat("c", 32)
	invoke(bytes.NewReader(in), "rewrite", "-q", "-m", other+"="+hashA, "-m", hashA+"="+hashB, "--report", name).
		want(t, statusDone, out)
	report := readReport(t, name)
	is(t, "schema", report["schema"], `"narseal/1"`)
	is(t, "command", report["command"], `"rewrite"`)
	is(t, "input", report["input"], streamOf(in))
	is(t, "output", report["output"], streamOf(out))
	is(t, "entries", report["entries"], `{"regular": 4, "directory": 3, "symlink": 1}`)
	// By the bytes: one in each slice's text, one in the name, target and file.
	n := bytes.Count(in, []byte(hashA))
	is(t, "rules", report["rules"], `[{"from": "`+other+`", "to": "`+hashA+`", "count": 0},
		{"from": "`+hashA+`", "to": "`+hashB+`", "count": `+strconv.Itoa(n)+`}]`)
	is(t, "changed", report["changed"], `[
		{"path": "/bin/lld-universal", "contents": true, "target": false, "name": false},
		{"path": "/lib", "contents": false, "target": true, "name": false},
		{"path": "/meta/`+hashA+`.drv", "contents": false, "target": false, "name": true},
		{"path": "/meta/refs", "contents": true, "target": false, "name": false}]`)
	// The offsets, page counts and stale pages are those of the fixture, as
	// its fat header, CodeDirectories and the places of the hash give them.
	is(t, "signatures", report["signatures"], `[
		{"path": "/bin/lld-universal", "arch": "x86_64", "offset": 4096, "status": "repaired", "signature": "linker-signed", "reason": "",
		 "codeDirectories": [{"slot": 0, "hashType": "sha256", "pageSize": 4096, "slots": 5, "stale": `+stalePages(t, "lld-universal", 4096, 20784)+`, "staleSpecial": []}]},
		{"path": "/bin/lld-universal", "arch": "arm64", "offset": 32768, "status": "repaired", "signature": "linker-signed", "reason": "",
		 "codeDirectories": [{"slot": 0, "hashType": "sha256", "pageSize": 4096, "slots": 13, "stale": `+stalePages(t, "lld-universal", 32768, 82224)+`, "staleSpecial": []}]}]`)
	for _, key := range []string{"error", "archives"} {
		if v, ok := report[key]; ok {
			t.Errorf("%s is %v, want none", key, v)
		}
	}
}

// Each archive of an export stream has the rules with its own counts.
func TestReportRulesOfArchives(t *testing.T) {
	archive := func(text nartest.File) []byte {
		return exported("/nix/store/"+strings.Repeat("d", 32)+"-x", nil, nartest.Tree(text))
	}
	first := archive(nartest.File(hashA + " " + hashA))
	in := append(first[:len(first)-8], archive("none")...) // without its end of the stream
	name := filepath.Join(t.TempDir(), "report.json")
	invoke(bytes.NewReader(in), "rewrite", "-q", "-m", hashB+"="+hashA, "-m", hashA+"="+hashB, "--report", name).
		want(t, statusDone, bytes.ReplaceAll(in, []byte(hashA), []byte(hashB)))
	report := readReport(t, name)
	is(t, "totals", report["totals"], `[{"from": "`+hashB+`", "to": "`+hashA+`", "count": 0},
		{"from": "`+hashA+`", "to": "`+hashB+`", "count": 2}]`)
	archives := report["archives"].([]any)
	if len(archives) != 2 {
		t.Fatalf("got %d archives, want 2", len(archives))
	}
	for i, count := range []string{"2", "0"} {
		is(t, "rules", archives[i].(map[string]any)["rules"], `[{"from": "`+hashB+`", "to": "`+hashA+`", "count": 0},
			{"from": "`+hashA+`", "to": "`+hashB+`", "count": `+count+`}]`)
	}
}

// stalePages lists the pages of 4 KiB from from that differ between the sides
// of a golden pair, up to the signature at to.
func stalePages(t *testing.T, name string, from, to int) string {
	a, b := readTestdata(t, "macho/goldens/A", name), readTestdata(t, "macho/goldens/B", name)
	var pages []string
	for at := from; at < to; at += 4096 {
		end := min(at+4096, to)
		if !bytes.Equal(a[at:end], b[at:end]) {
			pages = append(pages, strconv.Itoa((at-from)/4096))
		}
	}
	if len(pages) == 0 {
		t.Fatalf("%s does not differ from %d to %d", name, from, to)
	}
	return "[" + strings.Join(pages, ",") + "]"
}

// The NarHash is the one that Nix gives to the tree.
func TestReportNarHash(t *testing.T) {
	s := nartest.Nix(t)
	dir := t.TempDir()
	in, out, name := filepath.Join(dir, "in"), filepath.Join(dir, "out"), filepath.Join(dir, "report")
	if err := os.WriteFile(in, readTestdata(t, "sample.nar"), 0o666); err != nil {
		t.Fatal(err)
	}
	invoke(nil, "rewrite", "-m", sampleHash+"="+sampleOther, "--report", name, "-o", out, in).want(t, statusDone, nil)
	report := readReport(t, name)
	for key, file := range map[string]string{"input": in, "output": out} {
		nar, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		hash := s.Run(nil, "nix-hash", "--type", "sha256", "--base32", nartest.Restore(t, nar))
		hash = s.Run(nil, "nix", "hash", "to-sri", "--type", "sha256", strings.TrimSpace(string(hash)))
		if got, want := report[key].(object)["narHash"], strings.TrimSpace(string(hash)); got != want {
			t.Errorf("%s: narHash %s, nix says %s", key, got, want)
		}
	}
}

// A report tells of a run that failed, too, and then of no output.
func TestReportOfFailure(t *testing.T) {
	name := filepath.Join(t.TempDir(), "report.json")
	in := goldenNAR(t, "A", "lld-arm64")
	o := invoke(bytes.NewReader(in[:len(in)-8]), "rewrite", "-m", hashA+"="+hashB, "--report", name)
	if o.status != statusError {
		t.Fatalf("status %d, %s", o.status, o.stderr)
	}
	report := readReport(t, name)
	if _, ok := report["output"]; ok {
		t.Errorf("output is %v, want none", report["output"])
	}
	if msg, _ := report["error"].(string); msg == "" || !strings.Contains(o.stderr, msg) {
		t.Errorf("error is %v, stderr %s", report["error"], o.stderr)
	}
}
