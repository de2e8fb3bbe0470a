package main

import (
	"os"

	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/command"
	"narseal/cmd/narseal/internal/manual"
	"narseal/cmd/narseal/internal/terminal"
)

func verifyCommand(p *process) *cli.Command {
	var (
		o      command.VerifyOptions
		common commonOptions
	)
	return &cli.Command{
		Name:      "verify",
		Usage:     "report every signature, change nothing",
		ArgsUsage: "[INPUT...]",
		Description: `INPUT is a NAR or an export stream, raw or compressed, a directory, or any other file;
no INPUT, or -, is stdin, which must be a NAR or an export stream. The exit status is 3
if a signature is invalid, or missing where macOS requires one (--unsigned); the last
lines then say how to repair what can be repaired. Other archives, such as tar and zip,
are not unpacked.

  narseal verify ./result
  narseal verify $(nix-store -qR ./result)`,
		Flags: join([]cli.Flag{
			formatOption(&o.List),
			outputFile{text(&o.HTML, "html", manual.Reports, "write an HTML report to `FILE`, with the bad pages of each image")},
			allOption(&o.List),
			unsignedOption(&o.List),
			jobsOption(&o.Jobs, "hash on `N` processors"),
		}, common.flags()),
		Action: func(c *cli.Context) error {
			env := common.env(p)
			o.Common, o.Inputs, o.Version = common.Common, inputArgs(c), versionString()
			o.List.Summary = os.Getenv(stepSummary)
			if o.HTML == "-" {
				return terminal.Usage("", "--html -: want a file name; stdout is used for the list")
			}
			return command.Verify(c.Context, env, &o)
		},
	}
}

// inputArgs returns the INPUTs of a command, or stdin if none is given.
func inputArgs(c *cli.Context) []string {
	if c.NArg() == 0 {
		return []string{command.Stream}
	}
	return c.Args().Slice()
}
