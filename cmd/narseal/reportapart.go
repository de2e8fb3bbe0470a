package main

import (
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"
)

// reportApart refuses a --report that would take the place of the output or
// of an input.
func reportApart(c *cli.Context) error {
	name := c.String("report")
	if name == "" {
		return nil
	}
	for _, other := range append([]string{c.String("output")}, c.Args().Slice()...) {
		if other != "" && other != "-" && samePath(name, other) {
			return badUsage("", "--report %s: the report would overwrite %s", name, other)
		}
	}
	return nil
}

// samePath tells whether two names are of one regular file, be it there or
// not.
func samePath(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	if errX == nil && errY == nil {
		return sameFile(x, y)
	}
	absA, errA := filepath.Abs(a)
	absB, errB := filepath.Abs(b)
	return errA == nil && errB == nil && absA == absB && errX != nil && errY != nil
}
