package main

import (
	"os"

	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/command"
	"narseal/cmd/narseal/internal/manual"
	"narseal/cmd/narseal/internal/storecmd"
	"narseal/cmd/narseal/internal/terminal"
)

const aboutStores = `PATH is a store path, or a file in one, such as ./result. Without a PATH, all valid
paths in Nix's database are processed. narseal gets the list from nix-store, which must
be installed.
`

func storeCommand(p *process) *cli.Command {
	return &cli.Command{
		Name:        "store",
		Usage:       "verify or repair the Nix store of this machine",
		Subcommands: []*cli.Command{storeVerifyCommand(p), storeRepairCommand(p)},
	}
}

// storeOptions are the options that all commands on stores share.
type storeOptions struct{ common commonOptions }

func (o *storeOptions) flags(to *storecmd.Options) []cli.Flag {
	return join([]cli.Flag{
		boolean(&to.Closure, "closure", manual.Selection, "also everything that the PATHs refer to"),
		storeDirOption(&to.StoreDir, "$NIX_STORE_DIR, or /nix/store"),
		jobsOption(&to.Jobs, "work on `N` paths at a time"),
	}, o.common.flags())
}

func (o *storeOptions) begin(p *process, c *cli.Context, to *storecmd.Options) *command.Env {
	to.Common, to.Paths = o.common.Common, c.Args().Slice()
	return o.common.env(p)
}

func storeVerifyCommand(p *process) *cli.Command {
	var (
		o     storecmd.VerifyOptions
		store storeOptions
	)
	return &cli.Command{
		Name:      "verify",
		Usage:     "report every signature, change nothing",
		ArgsUsage: "[PATH...]",
		Description: aboutStores + `The exit status is 3 if a signature is invalid.

  narseal store verify
  narseal store verify --closure ./result`,
		Flags: join([]cli.Flag{
			formatOption(&o.List),
			outputFile{text(&o.HTML, "html", manual.Reports, "write an HTML report to `FILE`, with the bad pages of each image")},
			allOption(&o.List),
			unsignedOption(&o.List),
		}, store.flags(&o.Options)),
		Action: func(c *cli.Context) error {
			env := store.begin(p, c, &o.Options)
			o.Version, o.List.Summary = versionString(), os.Getenv(stepSummary)
			if o.HTML == "-" {
				return terminal.Usage("", "--html -: want a file name; stdout is used for the list")
			}
			return storecmd.Verify(c.Context, env, &o)
		},
	}
}

func storeRepairCommand(p *process) *cli.Command {
	var (
		o     storecmd.RepairOptions
		store storeOptions
		keys  keyOptions
	)
	return &cli.Command{
		Name:      "repair",
		Usage:     "repair every invalid signature, and update Nix's database",
		ArgsUsage: "[PATH...]",
		Description: aboutStores + `
A path with an invalid signature is repaired in a temporary binary cache, and Nix
imports it from there: contents and database change together. References, deriver and
registration time stay; Nix's signatures of the old contents are dropped. Running
programs keep running. The store paths that change are listed on stdout.
nix-store --repair-path downloads the original of a path again.

If a run is stopped, even in the middle of Nix's work, the next run finishes it.

  sudo narseal store repair`,
		Flags: join([]cli.Flag{
			onCMSOption(&o.OnCMS, "keep"),
			keys.flag("sign repaired paths with the key in `FILE`, not with a temporary key; repeatable"),
			text(&o.State, "state", manual.InOut, "keep repaired paths in `DIR` until Nix has imported them (default: narseal beside Nix's database)"),
			boolean(&o.DryRun, "dry-run n", manual.InOut, "list what would change, and change nothing; needs no privileges"),
		}, store.flags(&o.Options)),
		Action: func(c *cli.Context) (err error) {
			env := store.begin(p, c, &o.Options)
			if o.SecretKeys, err = keys.secretKeys(); err != nil {
				return err
			}
			return storecmd.Repair(c.Context, env, &o)
		},
	}
}
