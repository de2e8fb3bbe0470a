package main

import (
	"encoding/json"
	"fmt"

	"github.com/urfave/cli/v2"

	"narseal/filter"
)

// report is what --report writes.
type report struct {
	Schema  string `json:"schema"`
	Command string `json:"command"`
	*inputReport
	// Inputs are in place of the above where a command had several.
	Inputs []*inputReport `json:"inputs,omitempty"`
}

// inputReport is what a command did with one input.
type inputReport struct {
	// Name is of one of several inputs, as the user gave it.
	Name  string        `json:"name,omitempty"`
	Input *streamReport `json:"input"`
	// Output is absent where none was written, and where the run failed.
	Output *streamReport `json:"output,omitempty"`
	Error  string        `json:"error,omitempty"`
	// Of one archive; an export stream has Archives instead.
	*archiveReport
	Archives []*archiveReport `json:"archives,omitempty"`
	// Totals are of all archives of an export stream together.
	Totals []ruleReport `json:"totals,omitempty"`
}

func newReport(c *cli.Context) *report {
	return &report{Schema: reportSchema, Command: c.Command.Name, inputReport: &inputReport{}}
}

// streamReport describes an input or an output. Size and NarHash are of the
// uncompressed stream; of a directory there is the size of its files alone.
type streamReport struct {
	Format      string `json:"format"`
	Compression string `json:"compression"`
	Size        int64  `json:"size"`
	NarHash     string `json:"narHash,omitempty"`
}

// archiveReport describes one archive.
type archiveReport struct {
	// StorePath is of archives in an export stream.
	StorePath string        `json:"storePath,omitempty"`
	Entries   entriesReport `json:"entries"`
	// Rules are all of the run's; in a cache, and in an export stream whose
	// archives have listed maxReportRules, only those that match.
	Rules      []ruleReport       `json:"rules"`
	Changed    []filter.Change    `json:"changed"`
	Signatures []filter.Signature `json:"signatures"`
	// Omitted is the number of changes and signatures that are not listed,
	// see maxReportPaths.
	Omitted int64 `json:"omitted,omitempty"`

	room *room // for paths; nil: all of maxReportPaths
}

// maxReportPaths bounds the paths that a report lists, in bytes: those of deep
// folders inside each other are as long as all that lies above, and would take
// far more memory than the archive has bytes.
const maxReportPaths = 128 << 20

// maxReportRules bounds the rules that the archives of an export stream list
// whether they match or not: many archives times many rules are too much.
const maxReportRules = 1 << 20

// room is what is left of such a bound.
type room int64

// take reports whether n more fit. When something did not, nothing does.
func (r *room) take(n int) bool {
	*r -= room(n)
	return *r >= 0
}

type entriesReport struct {
	Regular   int64 `json:"regular"`
	Directory int64 `json:"directory"`
	Symlink   int64 `json:"symlink"`
}

type ruleReport struct {
	From  string `json:"from"`
	To    string `json:"to"`
	Count int64  `json:"count"`
}

const reportSchema = "narseal/1"

// watch has cfg's next run collected, while there is room for its paths.
func (a *archiveReport) watch(cfg *filter.Config) {
	a.Changed, a.Signatures = []filter.Change{}, []filter.Signature{}
	if a.room == nil {
		all := room(maxReportPaths)
		a.room = &all
	}
	fits := func(path string) bool {
		ok := a.room.take(len(path))
		if !ok {
			a.Omitted++
		}
		return ok
	}
	cfg.Signatures.Verify = true
	cfg.Observer.Changed = func(c filter.Change) {
		if fits(c.Path) {
			a.Changed = append(a.Changed, c)
		}
	}
	cfg.Observer.Signature = func(s filter.Signature) {
		if fits(s.Path) {
			a.Signatures = append(a.Signatures, s)
		}
	}
}

// count adds what a run counted; unused rules, too, if asked to.
func (a *archiveReport) count(cfg *filter.Config, res *filter.Result, unused bool) {
	a.Entries = entriesReport{res.Regular, res.Directory, res.Symlink}
	a.Rules = ruleReports(cfg, res, unused)
}

func ruleReports(cfg *filter.Config, res *filter.Result, unused bool) []ruleReport {
	rules := []ruleReport{}
	for i, n := range res.Counts {
		if n > 0 || unused {
			r := cfg.Rules.Rule(i)
			rules = append(rules, ruleReport{r.From, r.To, n})
		}
	}
	return rules
}

// openReport opens a report's file; - is stderr.
func openReport(c *cli.Context, name string) (*output, error) {
	out, err := openTo(c.Context, name, c.App.ErrWriter)
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	return out, nil
}

// writeReport writes a report, a struct, to what openReport returned, and has
// it appear.
func (o *output) writeReport(rep any) error {
	b, err := json.MarshalIndent(rep, "", "  ")
	if err == nil {
		_, err = o.Write(append(b, '\n'))
	}
	if err == nil {
		err = o.commit()
	}
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// writeReport writes a report, a struct, to the file with this name; - is
// stderr.
func writeReport(c *cli.Context, name string, rep any) error {
	out, err := openReport(c, name)
	if err != nil {
		return err
	}
	defer out.abort()
	return out.writeReport(rep)
}
