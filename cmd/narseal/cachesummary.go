package main

import (
	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/cachecmd"
	"narseal/cmd/narseal/internal/manual"
	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/terminal"
)

func cacheSummaryCommand(p *process) *cli.Command {
	var (
		o      cachecmd.SummaryOptions
		common commonOptions
	)
	return &cli.Command{
		Name:      "summary",
		Usage:     "add up the ledgers of a sweep",
		ArgsUsage: "LEDGER...",
		Description: `LEDGER is a file that --ledger has written, compressed or not, the URL of an object, or
- for stdin. The summary lists the packages with invalid signatures, the number of
slices by signature and cause, and what could not be repaired. If a path has several
lines, the last one counts. The exit status is 1 if shards have searched the same closure
(--closure) and found different ones, are missing or not finished, or could not read all
of it, and 0 whatever else the ledgers contain. So give it the ledgers of all shards.

  narseal cache summary --against yesterday.jsonl ledger-*.jsonl`,
		Flags: join([]cli.Flag{
			oneOf(&o.Format, "text", words("text|json"), "format", manual.Reports, "text for people; json: one object"),
			outputFile{text(&o.HTML, "html", manual.Reports, "write an HTML report to `FILE`")},
			inputFiles{texts(&o.Against, "against", manual.InOut, "report what has appeared and disappeared since the ledger in `FILE`; repeatable")},
			netrcOption(&o.Netrc),
		}, common.processFlags()),
		Action: func(c *cli.Context) error {
			if c.NArg() == 0 {
				return terminal.Usage(helpHint(c.Command, "options"), "cache summary takes at least one LEDGER")
			}
			if o.HTML == "-" {
				return terminal.Usage("", "--html -: want the name of a file, stdout is for the summary")
			}
			common.SpillMemory = report.DefaultBudget // it is all that grows, and so limits the heap
			o.Ledgers, o.Version = c.Args().Slice(), versionString()
			return cachecmd.Summary(c.Context, common.env(p), &o)
		},
	}
}
