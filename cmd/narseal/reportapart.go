package main

import (
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"
)

// reportApart refuses what is written where it would take the place of
// something that is read, or written besides.
func reportApart(c *cli.Context) error {
	type use struct{ as, name string }
	var others []use
	for _, option := range []string{"map-file", "secret-key-file"} {
		for _, name := range c.StringSlice(option) {
			others = append(others, use{"--" + option + " ", name})
		}
	}
	others = append(others, use{"--allow-only ", c.String("allow-only")})
	rest := []use{{"--output ", c.String("output")}}
	for _, name := range c.Args().Slice() {
		rest = append(rest, use{"the input ", name})
	}
	for _, option := range []string{"output", "report", "html"} {
		name := c.String(option)
		for _, other := range others {
			if name != "" && name != "-" && other.name != "" && other.name != "-" && samePath(name, other.name) {
				return badUsage("", "--%s %s would overwrite %s%s", option, name, other.as, other.name)
			}
		}
		if option == "output" { // of the input, its command says more
			others = append(others, rest...)
		} else {
			others = append(others, use{"--" + option + " ", name})
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
