package main

import (
	"github.com/urfave/cli/v2"

	"narseal/filter"
)

// sweepReport is the report of a command that takes several inputs. Nothing is
// collected unless a report is wanted.
type sweepReport struct {
	wanted bool
	report
}

func newSweepReport(c *cli.Context) *sweepReport {
	return &sweepReport{wanted: c.IsSet("report"), report: *newReport(c)}
}

// begin makes the next input's part of the report, which goes nowhere if none
// is wanted.
func (r *sweepReport) begin(name string) *inputReport {
	in := &inputReport{Name: name}
	if r.wanted {
		r.Inputs = append(r.Inputs, in)
		in.archiveReport = newArchiveReport("")
	}
	return in
}

// write writes the report: one input alone stands for itself.
func (r *sweepReport) write(c *cli.Context) error {
	if len(r.Inputs) == 1 {
		r.inputReport, r.Inputs = r.Inputs[0], nil
		r.Name = ""
	} else {
		r.inputReport = nil
	}
	return writeReport(c, c.String("report"), &r.report)
}

func newArchiveReport(storePath string) *archiveReport {
	return &archiveReport{StorePath: storePath, Rules: []ruleReport{}, Changed: []filter.Change{}, Signatures: []filter.Signature{}}
}

// add adds a slice to the report.
func (r *inputReport) add(s filter.Signature) {
	if r.archiveReport != nil {
		r.Signatures = append(r.Signatures, s)
	}
}

// change adds a file that was replaced.
func (r *inputReport) change(c filter.Change) {
	if r.archiveReport != nil {
		r.Changed = append(r.Changed, c)
	}
}

// archive adds an archive of an export stream.
func (r *inputReport) archive(storePath string, all []filter.Signature, res *filter.Result) {
	if r.archiveReport == nil {
		return
	}
	a := newArchiveReport(storePath)
	a.Entries = entriesReport{res.Regular, res.Directory, res.Symlink}
	a.Signatures = append(a.Signatures, all...)
	r.Archives = append(r.Archives, a)
}

// end completes the report of an input.
func (r *inputReport) end(n *tally, err error) {
	if r.archiveReport == nil {
		return
	}
	r.Entries = n.entries
	if r.Archives != nil {
		r.archiveReport = nil
	}
	if r.Input != nil && r.Input.NarHash == "" {
		r.Input.Size = n.size
	}
	if err != nil {
		r.Error = err.Error()
	}
}
