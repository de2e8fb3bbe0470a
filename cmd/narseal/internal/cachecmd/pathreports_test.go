package cachecmd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"narseal/cmd/narseal/internal/report"
	"narseal/filter/spill"
	"narseal/nar/binarycache"
)

// A report has each path once, in the order of the hash parts, however much text that is, and keeps little of it in memory.
func TestPathReports(t *testing.T) {
	for _, n := range []int{0, 1, 5, 5000} {
		opened := 0
		r := &cacheReport{command: "verify", cache: "c"}
		r.paths.open = func() (spill.File, error) {
			opened++
			return os.Create(filepath.Join(t.TempDir(), "text"))
		}
		var want []string
		for i := range n {
			hash := fmt.Sprintf("%032d", i*7919%n)
			want = append(want, "/nix/store/"+hash+"-x")
			r.add(binarycache.Result{StorePath: "/nix/store/" + hash + "-x", Status: binarycache.Failed,
				Err: errors.New("error " + hash + strings.Repeat("\x1b", i%2000)), Warnings: []string{hash}}, nil)
			if r.paths.text.Len() > maxPathText {
				t.Fatalf("%d bytes are in memory", r.paths.text.Len())
			}
		}
		slices.Sort(want)
		r.end(binarycache.Summary{}, nil)
		var b bytes.Buffer
		if err := r.write(&b); err != nil {
			t.Fatal(err)
		}
		var got struct {
			Paths []struct {
				StorePath, Status, Error string
				Warnings                 []string
			}
		}
		if err := json.Unmarshal(b.Bytes(), &got); err != nil {
			t.Fatalf("%v\n%.300s", err, b.String())
		}
		var indented bytes.Buffer
		if err := json.Indent(&indented, b.Bytes(), "", "  "); err != nil || !bytes.Equal(indented.Bytes(), b.Bytes()) {
			t.Errorf("%d paths: not indented as the rest of the report: %v", n, err)
		}
		if len(got.Paths) != n || opened != min(n/5000, 1) {
			t.Fatalf("%d paths, %d files, want %d", len(got.Paths), opened, n)
		}
		for i, p := range got.Paths {
			hash := fmt.Sprintf("%032d", i)
			if p.StorePath != want[i] || !strings.HasPrefix(p.Error, "error "+hash) || p.Warnings[0] != hash || p.Status != "failed" {
				t.Fatalf("path %d: %+v", i, p)
			}
		}
	}
}

// What cannot be written to the temporary file, or read from it, is an error of the report.
func TestPathReportsFail(t *testing.T) {
	full := errors.New("no room")
	r := &cacheReport{}
	r.paths.open = func() (spill.File, error) { return nil, full }
	for range 3 {
		r.paths.add("/nix/store/x", func(o *report.Object) { o.Text("error", strings.Repeat("x", maxPathText)) })
	}
	if err := r.write(&bytes.Buffer{}); !errors.Is(err, full) {
		t.Errorf("got %v, want %v", err, full)
	}
}
