package filter_test

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"narseal/filter"
	"narseal/filter/rules"
	"narseal/nar"
	"narseal/nar/nartest"
)

// benchmarkRun passes an archive through a filter with one rule.
func benchmarkRun(b *testing.B, root nartest.Node) {
	in := nartest.Tree(root)
	rules := compile(b, rules.Rule{From: hashOf('b'), To: hashOf('d')})
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		c := filter.Config{Rules: rules}
		if _, err := c.Run(nar.NewWriter(io.Discard), nar.NewReader(bytes.NewReader(in))); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRunSmallFiles(b *testing.B) {
	text := bytes.Repeat([]byte("some words of text, /nix/store/ and 0123456789\n"), 200)
	root := nartest.Dir{}
	for i := range 100 {
		d := nartest.Dir{}
		for k := range 100 {
			d[fmt.Sprintf("file%02d", k)] = nartest.File(text[:(i*k*37)%8192])
		}
		root[fmt.Sprint(i)] = d
	}
	benchmarkRun(b, root)
}

func BenchmarkRunLargeFile(b *testing.B) {
	benchmarkRun(b, nartest.File(bytes.Repeat([]byte("some words of text, /nix/store/ and 0123456789\n"), 1<<20)))
}
