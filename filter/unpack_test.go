package filter_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"narseal/filter"
	"narseal/filter/refs"
	"narseal/filter/rules"
	"narseal/filter/rules/rulestest"
	"narseal/nar"
	"narseal/nar/nartest"
)

// A rewrite reports what it cannot reach in packed contents, and does not change it.
func TestRunReportsHidden(t *testing.T) {
	const hashA, hashB, hashC = rulestest.HashA, rulestest.HashB, rulestest.HashC
	filler := strings.Repeat("filler that can be packed well, ", 5000) // 160,000 bytes
	var data bytes.Buffer
	z := gzip.NewWriter(&data)
	z.Write([]byte(filler + "/nix/store/" + hashA + "-n " + hashB))
	z.Close()
	golden, err := os.ReadFile("../testdata/macho/goldens/A/go-arm64")
	if err != nil {
		t.Fatal(err)
	}
	archive := nartest.Tree(nartest.Dir{"a": nartest.File(hashA), "b": nartest.File(data.String()), "c": nartest.Exec(golden)})
	var found []string
	cfg := filter.Config{
		Rules:  compile(t, rules.Rule{From: hashA, To: hashC}, rules.Rule{From: hashB + "-n", To: hashC + "-m"}),
		Unpack: &refs.Unpack{},
		Observer: filter.Observer{Hidden: func(r *refs.Reference) error {
			found = append(found, fmt.Sprint(r.Path, r.Member, " ", r.Packed, " ", r.Offset, " ", r.Hash))
			return nil
		}},
	}
	var out bytes.Buffer
	if _, err := cfg.Run(nar.NewWriter(&out), nar.NewReader(bytes.NewReader(archive))); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprint("/b gzip ", len(filler)+11, " 0"); !slices.Equal(found, []string{want}) {
		t.Errorf("found %q, want %q", found, want)
	}
	if want := bytes.ReplaceAll(archive, []byte(hashA), []byte(hashC)); !bytes.Equal(out.Bytes(), want) {
		t.Error("the output is not the rewritten input")
	}
	broken := errors.New("broken")
	cfg.Observer.Hidden = func(*refs.Reference) error { return broken }
	if _, err := cfg.Run(nil, nar.NewReader(bytes.NewReader(archive))); !errors.Is(err, broken) {
		t.Errorf("got error %v", err)
	}
}
