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
		Description: `INPUT is a NAR or an export stream, raw or compressed; no INPUT, or -, is stdin.
Stale page slots and special slots are recomputed, for any cause. A bundle whose
files changed gets a new seal: digests in CodeResources, and the slots of its main
executable. Images that cannot be repaired are passed through unchanged and named on
stderr; the exit status is then 3.

  narseal repair -o good.nar broken.nar

With --in-place, PATH is a file, or a directory, which is searched recursively. A file
that needs repair is replaced with a new one, which keeps mode, owner, time and
attributes; no backup is kept. Hard links among the PATHs stay linked to each other, unless
the run is interrupted between them; links outside keep the old contents. Symlinks in
directories are not followed. Repaired files are listed on stdout. Paths in a Nix store with a database are refused: use narseal store
repair, which updates the database, too.

  narseal repair --in-place ./Some.app`,
		Flags: join([]cli.Flag{
			boolean(&inPlace, "in-place", manual.InOut, "repair files and directories instead of an archive"),
			boolean(&force, "force", manual.InOut, "with --in-place, also repair files in a Nix store; its database keeps the old hash"),
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
					Common: o.Common, Paths: c.Args().Slice(), OnCMS: o.OnCMS, Jobs: o.Jobs, Force: force,
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

// checkInPlace refuses options and paths that --in-place does not support, and, unless forced, paths in a Nix store.
func checkInPlace(c *cli.Context, force bool) error {
	for _, name := range []string{"output", "compression", "level"} {
		if c.IsSet(name) {
			return terminal.Usage("", "--in-place replaces files; --%s is for archives", name)
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
