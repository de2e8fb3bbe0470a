package main

import (
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"
)

// reportApart refuses a --report or --html that would take the place of the
// output, of an input, or of each other.
func reportApart(c *cli.Context) error {
	others := append([]string{c.String("output")}, c.Args().Slice()...)
	for _, option := range []string{"report", "html"} {
		name := c.String(option)
		if name == "" || name == "-" {
			continue
		}
		for _, other := range others {
			if other != "" && other != "-" && samePath(name, other) {
				return badUsage("", "--%s %s: the report would overwrite %s", option, name, other)
			}
		}
		others = append(others, name)
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
