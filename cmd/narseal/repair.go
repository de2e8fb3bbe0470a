package main

import (
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/command"
	"narseal/cmd/narseal/internal/manual"
	"narseal/cmd/narseal/internal/nixcli"
	"narseal/cmd/narseal/internal/terminal"
)

func repairCommand(p *process) *cli.Command {
	var (
		o       command.RepairOptions
		common  commonOptions
		inPlace bool
		force   bool
	)
	return &cli.Command{
		Name:      "repair",
		Usage:     "repair every invalid signature, and change nothing else",
		ArgsUsage: "[INPUT] | --in-place PATH...",
		Description: `INPUT is a NAR or an export stream, raw or compressed; nothing, or -, is stdin.
Whatever damaged a signature, its stale page and special slots are recomputed.
A bundle whose files changed gets a new seal: digests in CodeResources, and the
slots of its main executable.
What cannot be repaired is passed on as it is, named on stderr, and makes the
exit status 3.

  narseal repair -o good.nar broken.nar

With --in-place PATH is a file, or a directory with all that lies in it. A file is
replaced by a new one, which keeps mode, owner, time and attributes, and only if
it needs it. Hard links among the PATHs stay linked to each other; a name outside of
them keeps the old contents. Symlinks in directories are not followed. What was
repaired is listed on stdout. What is in a Nix store with a database is refused: narseal store repair repairs both.

  narseal repair --in-place ./Some.app`,
		Flags: join([]cli.Flag{
			boolean(&inPlace, "in-place", manual.InOut, "repair files and directories instead of an archive"),
			boolean(&force, "force", manual.InOut, "with --in-place, also what is in a Nix store, whose database then has the old hash"),
			onCMSOption(&o.OnCMS, "keep"),
		}, archiveOptions(&o.Archive), []cli.Flag{jobsOption(&o.Jobs, "hash on `N` processors")}, common.flags()),
		Action: func(c *cli.Context) (err error) {
			env := common.env(p)
			o.Common = common.Common
			if inPlace {
				if err := checkInPlace(c, force); err != nil {
					return err
				}
				return command.RepairInPlace(c.Context, env, &command.InPlaceOptions{
					Common: o.Common, Paths: c.Args().Slice(), OnCMS: o.OnCMS, Jobs: o.Jobs,
				})
			}
			if o.Input, err = inputArg(c); err != nil {
				return err
			}
			if info, err := os.Stat(o.Input); o.Input != command.Stream && err == nil && info.IsDir() {
				return terminal.Hint(fmt.Errorf("input: %s is a directory, want an archive", o.Input),
					"narseal repair --in-place "+o.Input+" repairs the files in it")
			}
			return command.Repair(c.Context, env, &o)
		},
	}
}

// checkInPlace refuses what --in-place cannot do, and unless forced what it should not do.
func checkInPlace(c *cli.Context, force bool) error {
	for _, name := range []string{"output", "compression", "level"} {
		if c.IsSet(name) {
			return terminal.Usage("", "--in-place replaces files, --%s is of archives", name)
		}
	}
	if c.NArg() == 0 {
		return terminal.Usage("narseal repair --in-place PATH...", "--in-place wants a PATH")
	}
	for _, path := range c.Args().Slice() {
		if why := nixcli.Inside(path, os.Environ()); why != "" && !force {
			return terminal.Usage("narseal store repair repairs the paths of a store and its database together; --force replaces the files alone",
				"--in-place %s: %s", path, why)
		}
	}
	return nil
}
