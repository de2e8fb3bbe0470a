package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
)

// The bill of narseal lists what go version -m lists.
func TestBillOfNarseal(t *testing.T) {
	program := filepath.Join(t.TempDir(), "narseal")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", program, "../../cmd/narseal").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := exec.Command("go", "version", "-m", program).Output()
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if f[0] == "dep" {
			want = append(want, f[1]+" "+f[2]+" "+f[3])
		}
	}

	var out bytes.Buffer
	if err := run([]string{"1.2.3", program}, &out); err != nil {
		t.Fatal(err)
	}
	var b bom
	if err := json.Unmarshal(out.Bytes(), &b); err != nil {
		t.Fatal(err)
	}
	if p := b.Metadata.Component; p.Type != "application" || p.PURL != "pkg:golang/narseal@1.2.3" {
		t.Errorf("program: %+v", p)
	}
	if std := b.Components[0]; std.Name != "std" || !strings.Contains(string(text), ": go"+std.Version+"\n") {
		t.Errorf("standard library: %+v, go version says %q", std, text)
	}
	var got []string
	for _, c := range b.Components[1:] {
		raw, err := hex.DecodeString(c.Hashes[0].Content)
		if err != nil {
			t.Error(err)
		}
		got = append(got, c.Name+" "+c.Version+" h1:"+base64.StdEncoding.EncodeToString(raw))
		if c.PURL != "pkg:golang/"+c.Name+"@"+c.Version {
			t.Errorf("%s %s has PURL %s", c.Name, c.Version, c.PURL)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestBillOfReplacedModule(t *testing.T) {
	info := &debug.BuildInfo{GoVersion: "go1.26.8", Deps: []*debug.Module{
		{Path: "example.org/a", Version: "v1.0.0", Replace: &debug.Module{Path: "example.org/fork", Version: "v1.0.1"}},
	}}
	b, err := billOf(info, "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	if got := b.Components[1].PURL; got != "pkg:golang/example.org/fork@v1.0.1" {
		t.Errorf("got %s", got)
	}
}

func TestErrors(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no program"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{nil, {"1.2.3"}, {"1.2.3", text}, {"1.2.3", text + "-missing"}} {
		var out bytes.Buffer
		if err := run(args, &out); err == nil || out.Len() > 0 {
			t.Errorf("%q: error %v, output %q", args, err, out.String())
		}
	}
	for _, sum := range []string{"h2:AAAA", "h1:not base64"} {
		info := &debug.BuildInfo{Deps: []*debug.Module{{Path: "example.org/a", Version: "v1.0.0", Sum: sum}}}
		if _, err := billOf(info, "1.2.3"); err == nil || !strings.Contains(err.Error(), "example.org/a") {
			t.Errorf("sum %q: error %v", sum, err)
		}
	}
}
