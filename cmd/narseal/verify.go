package main

import (
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/command"
	"narseal/cmd/narseal/internal/report"
)

func verifyCommand(t *terminal) *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "report every signature, change nothing",
		ArgsUsage: "[INPUT...]",
		Description: `INPUT is a NAR or an export stream, raw or compressed, a directory (such as a store
path) or a Mach-O file; nothing, or -, is stdin. The exit status is 3 if a signature is
invalid.

  narseal verify ./result`,
		Flags: append([]cli.Flag{
			formatFlag(),
			&cli.StringFlag{Name: "html", Usage: "write an HTML report to `FILE`, with the bad pages of each image"},
			allFlag(),
			jobsFlag,
		}, commonFlags()...),
		Action: func(c *cli.Context) error {
			t.configure(c)
			memory, err := sizeOption(c, "hold-memory")
			if err != nil {
				return err
			}
			o := &command.VerifyOptions{
				Inputs: c.Args().Slice(), List: listOptions(c), HTML: c.String("html"), Version: versionString(),
				Jobs: c.Int("jobs"), SpillMemory: memory, Report: c.String("report"),
			}
			if len(o.Inputs) == 0 {
				o.Inputs = []string{"-"}
			}
			if o.HTML == "-" {
				return badUsage("", "--html -: want the name of a file, stdout is for the list")
			}
			return command.Verify(c.Context, newEnv(c, t), o)
		},
	}
}

func formatFlag() cli.Flag {
	return choice("format", "text", "text|json|github",
		"text for people; json: one object per line for each slice; github: annotations and a job summary of a workflow")
}

func allFlag() cli.Flag {
	return &cli.BoolFlag{Name: "all", Usage: "list valid signatures, too"}
}

// listOptions reads the options of lists of slices.
func listOptions(c *cli.Context) command.ListOptions {
	return command.ListOptions{Format: c.String("format"), All: c.Bool("all"), Summary: os.Getenv("GITHUB_STEP_SUMMARY")}
}

// newList returns the list that --format names.
func newList(c *cli.Context, w io.Writer, left *report.Budget) report.List {
	o := listOptions(c)
	if o.Format == "github" {
		return report.NewGitHub(w, o.Summary)
	}
	return report.NewList(o.Format, w, o.All, left)
}
