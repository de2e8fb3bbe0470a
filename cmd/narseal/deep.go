package main

import (
	"github.com/urfave/cli/v2"

	"narseal/filter/refs"
)

// deepConfig reads the limits.
func deepConfig(c *cli.Context, t *terminal) (*refs.Unpack, error) {
	d := &refs.Unpack{Depth: c.Int("deep-depth"), Ratio: int64(c.Int("deep-ratio"))}
	d.Spill.Open = newScratch(exitsOf(c.Context))
	if d.Depth < 1 {
		return nil, badUsage("", "--deep-depth %d: want at least 1", d.Depth)
	}
	if d.Ratio < 1 {
		return nil, badUsage("", "--deep-ratio %d: want at least 1", d.Ratio)
	}
	var err error
	if d.Size, err = sizeOption(c, "deep-size"); err != nil {
		return nil, err
	}
	if d.Spill.Memory, err = sizeOption(c, "hold-memory"); err != nil {
		return nil, err
	}
	d.Warn = func(path string, err error) { t.warn("%s: not all of it was looked into: %v", printable(path), err) }
	return d, nil
}
