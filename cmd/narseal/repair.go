package main

import (
	"github.com/urfave/cli/v2"

	"narseal/filter"
)

func repairCommand(t *terminal) *cli.Command {
	return &cli.Command{
		Name:      "repair",
		Usage:     "reseal every signature that does not hold, and change nothing else",
		ArgsUsage: "[INPUT]",
		Description: `INPUT is a NAR; nothing, or -, is stdin. Whatever damaged a signature, its page
and special slots are computed anew. What cannot be resealed is passed on as it
is, named on stderr, and makes the exit status 3.

narseal repair -o good.nar broken.nar`,
		Flags: append([]cli.Flag{outputFlag, onCMSFlag("keep"), compressionFlag, levelFlag, jobsFlag}, commonFlags()...),
		Action: func(c *cli.Context) error {
			t.configure(c)
			cfg, err := filterConfig(c)
			if err != nil {
				return err
			}
			cfg.Repair = filter.RepairAll
			return runFilter(c, t, cfg)
		},
	}
}
