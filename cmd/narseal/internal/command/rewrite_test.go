package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"narseal/cmd/narseal/internal/terminal"
	"narseal/filter/address"
	"narseal/filter/rules"
	"narseal/nar/nartest"
)

var (
	hashA = strings.Repeat("a", 32)
	hashB = strings.Repeat("b", 32)
)

// Commands work without the command line, and without a registry of what must be undone.
func TestCommandsFromValues(t *testing.T) {
	in := nartest.Tree(nartest.File("/nix/store/" + hashA + "-x"))
	want := nartest.Tree(nartest.File("/nix/store/" + hashB + "-x"))
	set, err := rules.Compile([]rules.Rule{{From: hashA, To: hashB}}, rules.AllEncodings)
	if err != nil {
		t.Fatal(err)
	}
	archive := Archive{Input: Stream, Compression: SameCompression}
	for _, test := range []struct {
		name string
		want []byte
		run  func(*Env, Common) error
	}{
		{"rewrite", want, func(e *Env, c Common) error {
			return Rewrite(t.Context(), e, &RewriteOptions{Common: c, Archive: archive, Rules: set})
		}},
		{"repair", in, func(e *Env, c Common) error {
			return Repair(t.Context(), e, &RepairOptions{Common: c, Archive: archive})
		}},
		{"address", nil, func(e *Env, c Common) error {
			cfg := address.Config{StoreDir: "/nix/store", Self: hashA + "-x"}
			return Address(t.Context(), e, &AddressOptions{Common: c, Archive: archive, Config: cfg})
		}},
		{"verify", []byte("1 file, 0 signed images, 0 slices; 0 stale slots; 0 B hashed; no signature\n"), func(e *Env, c Common) error {
			return Verify(t.Context(), e, &VerifyOptions{Common: c, Inputs: []string{Stream}})
		}},
		{"refs", nil, func(e *Env, c Common) error {
			err := Refs(t.Context(), e, &RefsOptions{Common: c, Inputs: []string{Stream}, StoreDir: "/nix/store", Encodings: rules.UTF8, Deny: []string{hashA}})
			if err != ErrDenied {
				t.Errorf("refs returns %v", err)
			}
			return nil
		}},
	} {
		var stdout, stderr bytes.Buffer
		report := filepath.Join(t.TempDir(), "report")
		e := &Env{Stdin: bytes.NewReader(in), Stdout: &stdout, Stderr: &stderr, Terminal: terminal.New(&stderr)}
		if err := test.run(e, Common{Report: report}); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if test.want != nil && !bytes.Equal(stdout.Bytes(), test.want) {
			t.Errorf("%s: wrote %q, want %q", test.name, &stdout, test.want)
		}
		var rep struct{ Schema, Command string }
		b, err := os.ReadFile(report)
		if err = errors.Join(err, json.Unmarshal(b, &rep)); err != nil || rep.Schema != "narseal/1" || rep.Command != test.name {
			t.Errorf("%s: %v, report %s", test.name, err, b)
		}
	}
}

// A report that cannot be created is an error before the input is read.
func TestReportComesFirst(t *testing.T) {
	in := strings.NewReader("x")
	var stdout, stderr bytes.Buffer
	e := &Env{Stdin: in, Stdout: &stdout, Stderr: &stderr, Terminal: terminal.New(&stderr)}
	o := &RepairOptions{Common: Common{Report: filepath.Join(t.TempDir(), "absent", "report")}, Archive: Archive{Input: Stream}}
	if err := Repair(t.Context(), e, o); !errors.Is(err, os.ErrNotExist) || in.Len() != 1 || stdout.Len() > 0 {
		t.Errorf("%v; %d bytes of the input are left", err, in.Len())
	}
}
