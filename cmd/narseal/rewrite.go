package main

import (
	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/command"
	"narseal/cmd/narseal/internal/manual"
	"narseal/cmd/narseal/internal/terminal"
)

func rewriteCommand(p *process) *cli.Command {
	var (
		o        command.RewriteOptions
		common   commonOptions
		rules    ruleOptions
		unpack   command.Unpack
		deepWarn bool
	)
	return &cli.Command{
		Name:      "rewrite",
		Usage:     "rewrite store-path hashes in a NAR and repair the signatures that this breaks",
		ArgsUsage: "[INPUT]",
		Description: `INPUT is a NAR or an export stream, raw or compressed; nothing, or -, is stdin.
Everything keeps its length. All rules apply at once, never to the output of
another one. A bundle whose files change gets a new seal. A file signed by a
certificate that a rule touches cannot be repaired and ends the run, unless
--on-cms says otherwise.

  nix-store --dump /nix/store/OLD |
    narseal rewrite --map OLD=NEW |
    nix-store --restore ./new`,
		Flags: join(rules.flags(), []cli.Flag{repairOption(&o.Repair), onCMSOption(&o.OnCMS, "fail")}, archiveOptions(&o.Archive), []cli.Flag{
			boolean(&o.Spool, "spool", manual.InOut, "copy the input to a temporary file first, so that renamed entries can move before others"),
			boolean(&deepWarn, "deep-warn", manual.Packed, "search packed files, and warn of what is hidden there from the rules"),
		}, unpackOptions(&unpack), common.flags()),
		Action: func(c *cli.Context) (err error) {
			env := common.env(p)
			o.Common = common.Common
			if o.Input, err = inputArg(c); err != nil {
				return err
			}
			if o.Rules, err = rules.compile(p.stdin, o.Input); err != nil {
				return err
			}
			if deepWarn {
				o.Unpack = &unpack
			}
			return command.Rewrite(c.Context, env, &o)
		},
	}
}

// inputArg is the one INPUT of a command, "-" if none is given.
func inputArg(c *cli.Context) (string, error) {
	switch c.NArg() {
	case 0:
		return command.Stream, nil
	case 1:
		return c.Args().First(), nil
	}
	return "", terminal.Usage(helpHint(c.Command, "options"), "%s takes one INPUT, got %d", c.Command.Name, c.NArg())
}
