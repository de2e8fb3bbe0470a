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

// A run allocates as much for a thousand entries as for one.
func TestNoAllocationAnEntry(t *testing.T) {
	rules := compile(t, rules.Rule{From: hashOf('b'), To: hashOf('d')})
	allocs := func(files int) float64 {
		root := nartest.Dir{}
		for i := range files {
			root[fmt.Sprintf("%04d", i)] = nartest.Dir{"f": nartest.Exec("no hash"), "g": nartest.File(hashOf('b')), "l": nartest.Symlink(hashOf('b'))}
		}
		in := nartest.Tree(root)
		return testing.AllocsPerRun(5, func() {
			c := filter.Config{Rules: rules}
			if _, err := c.Run(nar.NewWriter(io.Discard), nar.NewReader(bytes.NewReader(in))); err != nil {
				t.Fatal(err)
			}
		})
	}
	if one, many := allocs(1), allocs(1000); many > one+5 {
		t.Errorf("%.0f allocations for one directory, %.0f for a thousand", one, many)
	}
}
