package main

import (
	"fmt"
	"os"
	"runtime"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"

	"narseal/filter"
)

func (t *terminal) configure(c *cli.Context) {
	t.quiet, t.verbose = c.Bool("quiet"), c.Bool("verbose")
}

// sizeOption reads a size such as 256MiB, 1G or 4096.
func sizeOption(c *cli.Context, name string) (int64, error) {
	n, err := humanize.ParseBytes(c.String(name))
	if err != nil || n == 0 || n > 1<<62 {
		return 0, badUsage("sizes look like 64MiB, 1GB or 4096", "--%s %q: not a size", name, c.String(name))
	}
	return int64(n), nil
}

// newScratch makes a temporary file that has no name any more, so that
// nothing is left of it however the program ends.
func newScratch() (filter.Scratch, error) {
	f, err := os.CreateTemp("", "narseal-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, fmt.Errorf("unlink: %w", err)
	}
	return f, nil
}

var jobsFlag = &cli.IntFlag{
	Name:    "jobs",
	Aliases: []string{"j"},
	Usage:   "hash on `N` processors",
	Value:   runtime.NumCPU(),
	Action: func(_ *cli.Context, n int) error {
		if n < 1 {
			return badUsage("", "--jobs %d: want at least 1", n)
		}
		return nil
	},
	// The default differs from machine to machine, and so would the help.
	DefaultText: "the number of CPUs",
}
