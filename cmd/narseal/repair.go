package main

import (
	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/command"
	"narseal/filter"
)

var inPlaceFlag = &cli.BoolFlag{Name: "in-place", Usage: "repair files and directories instead of an archive"}

func repairInPlace(c *cli.Context, t *terminal) error {
	for _, name := range []string{"output", "compression", "level"} {
		if c.IsSet(name) {
			return badUsage("", "--in-place replaces files, --%s is of archives", name)
		}
	}
	if c.NArg() == 0 {
		return badUsage("narseal repair --in-place PATH...", "--in-place wants a PATH")
	}
	return command.RepairInPlace(c.Context, newEnv(c, t), &command.InPlaceOptions{
		Paths: c.Args().Slice(), OnCMS: cmsPolicies[c.String("on-cms")], Jobs: c.Int("jobs"), Report: c.String("report"),
	})
}

func repairCommand(t *terminal) *cli.Command {
	return &cli.Command{
		Name:      "repair",
		Usage:     "reseal every signature that does not hold, and change nothing else",
		ArgsUsage: "[INPUT] | --in-place PATH...",
		Description: `INPUT is a NAR or an export stream, raw or compressed; nothing, or -, is stdin.
Whatever damaged a signature, its page
and special slots are computed anew. What cannot be resealed is passed on as it
is, named on stderr, and makes the exit status 3.

  narseal repair -o good.nar broken.nar

With --in-place PATH is a file, or a directory with all that lies in it. A file is
replaced by a new one, which keeps mode, owner, time and attributes, and only if
it needs it. Hard links among the PATHs stay linked to each other; a name outside of
them keeps the old contents. Symlinks in directories are not followed.

  narseal repair --in-place ./Some.app`,
		Flags: append([]cli.Flag{inPlaceFlag, outputFlag, onCMSFlag("keep"), compressionFlag, levelFlag, jobsFlag}, commonFlags()...),
		Action: func(c *cli.Context) error {
			t.configure(c)
			if c.Bool(inPlaceFlag.Name) {
				return repairInPlace(c, t)
			}
			cfg, err := filterConfig(c)
			if err != nil {
				return err
			}
			cfg.Signatures.Repair = filter.RepairAll
			return runFilter(c, t, cfg)
		},
	}
}
