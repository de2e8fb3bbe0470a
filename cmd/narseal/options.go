package main

import (
	"runtime"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"
)

// sizeOption reads a size such as 256MiB, 1G or 4096.
func sizeOption(c *cli.Context, name string) (int64, error) {
	n, err := humanize.ParseBytes(c.String(name))
	if err != nil || n == 0 || n > 1<<62 {
		return 0, badUsage("sizes look like 64MiB, 1GB or 4096", "--%s %q: not a size", name, c.String(name))
	}
	return int64(n), nil
}

var outputFlag = &cli.StringFlag{
	Name:    "output",
	Aliases: []string{"o"},
	Usage:   "write to `FILE`, which appears only when complete; - is stdout, also where that is a terminal",
}

var progressFlag = choice("progress", "auto", "auto|always|never",
	"tell on stderr how far a long run is; auto: on a terminal, after one second")

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
