package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"

	"narseal/filter/spill"
)

func (t *terminal) configure(c *cli.Context) {
	t.quiet, t.verbose = c.Bool("quiet"), c.Bool("verbose")
	t.startProgress(c.String("progress"))
}

// sizeOption reads a size such as 256MiB, 1G or 4096.
func sizeOption(c *cli.Context, name string) (int64, error) {
	n, err := humanize.ParseBytes(c.String(name))
	if err != nil || n == 0 || n > 1<<62 {
		return 0, badUsage("sizes look like 64MiB, 1GB or 4096", "--%s %q: not a size", name, c.String(name))
	}
	return int64(n), nil
}

// newScratch returns what makes temporary files that have no name, or none any
// more, so that nothing is left of them however the program ends.
func newScratch(x *exits) func() (spill.File, error) {
	return func() (spill.File, error) {
		f, err := openUnnamed(os.TempDir(), 0o600)
		if errors.Is(err, errors.ErrUnsupported) {
			err = x.whole(func() error {
				if f, err = os.CreateTemp("", "narseal-"); err != nil {
					return err
				}
				if err := os.Remove(f.Name()); err != nil {
					f.Close()
					return fmt.Errorf("unlink: %w", err)
				}
				return nil
			})
		}
		if err != nil {
			return nil, err // not f, which would be a Scratch that is nil inside
		}
		return f, nil
	}
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
