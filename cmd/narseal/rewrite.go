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
		Description: `INPUT is a NAR or an export stream, raw or compressed; no INPUT, or -, is stdin.
Lengths do not change. All rules apply in one pass: no rule changes the output of
another. A bundle whose files change gets a new seal. If a rule touches a file that is
signed with a certificate, the run ends with an error, because narseal cannot renew that
signature; --on-cms changes this.

  nix-store --dump /nix/store/OLD |
    narseal rewrite --map OLD=NEW |
    nix-store --restore ./new`,
		Flags: join(rules.flags(), []cli.Flag{repairOption(&o.Repair), onCMSOption(&o.OnCMS, "fail")}, archiveOptions(&o.Archive), []cli.Flag{
			boolean(&o.Spool, "spool", manual.InOut, "copy the input to a temporary file first, so that renamed entries can move ahead of others"),
			boolean(&deepWarn, "deep-warn", manual.Packed, "search packed files, and warn about hashes there, which the rules cannot replace"),
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
			if o.Unpack, err = limits(c, &unpack, "deep-warn", deepWarn); err != nil {
				return err
			}
			return command.Rewrite(c.Context, env, &o)
		},
	}
}

// inputArg returns the single INPUT of a command, or "-" if none is given.
func inputArg(c *cli.Context) (string, error) {
	switch c.NArg() {
	case 0:
		return command.Stream, nil
	case 1:
		return c.Args().First(), nil
	}
	return "", terminal.Usage(helpHint(c.Command, "options"), "%s takes one INPUT, got %d", c.Command.Name, c.NArg())
}
