// Package report prints the results of narseal's commands: as text, JSON or annotations for GitHub Actions, and in the
// files of --report.
package report

import (
	"narseal/filter"
	"narseal/filter/rules"
)

// Schema is the version of the JSON that --report writes.
const Schema = "narseal/1"

// Report is the report of --report.
type Report struct {
	Schema  string
	Command string
	*Input
	// Inputs replaces Input if a command had several inputs.
	Inputs []*Input
}

// New returns the report of a command that has one input.
func New(command string) *Report {
	return &Report{Schema: Schema, Command: command, Input: &Input{}}
}

// Input describes what a command did with one input.
type Input struct {
	// Name is the input's name as given by the user. It is set only if there are several inputs.
	Name  string
	Input *Stream
	// Output is nil if no output was written or the run failed.
	Output *Stream
	Error  string
	// Archive describes the contents. An export stream has Archives instead.
	*Archive
	Archives []*Archive
	// OmittedArchives counts archives that did not fit into the Budget.
	OmittedArchives int64
	// Totals counts the matches of each rule in all Archives together.
	Totals []Rule
}

// Stream describes an input or an output. Size and NarHash are those of the uncompressed stream. A directory has the
// size of its files, and no hash.
type Stream struct {
	Format      string `json:"format"`
	Compression string `json:"compression"`
	Size        int64  `json:"size"`
	NarHash     string `json:"narHash,omitempty"`
}

// Archive describes one archive.
type Archive struct {
	// StorePath is set for the archives of an export stream.
	StorePath string
	Entries   Entries
	// Rules lists all rules of the run. In a cache, and in an export stream once its archives have listed MaxRules
	// rules, it lists only rules that matched.
	Rules      []Rule
	Changed    []filter.Change
	Signatures []filter.Signature
	// Omitted counts changes, signatures and matched rules that did not fit into the Budget.
	Omitted int64

	budget *Budget
	taken  int
}

// NewArchive returns an empty Archive whose lists are limited by b.
func NewArchive(b *Budget) *Archive { return &Archive{budget: b} }

// Entries counts the entries of an archive.
type Entries struct {
	Regular   int64 `json:"regular"`
	Directory int64 `json:"directory"`
	Symlink   int64 `json:"symlink"`
}

// Rule is a rule and the number of its matches.
type Rule struct {
	From  string `json:"from"`
	To    string `json:"to"`
	Count int64  `json:"count"`
}

// MaxRules limits how many rules the archives of an export stream list regardless of matches. Without it, many archives
// and many rules would take far more memory than the stream.
const MaxRules = 1 << 20

// AddSignature adds a slice, or counts it as omitted if it does not fit.
func (a *Archive) AddSignature(s filter.Signature) {
	if a.take(Memory(&s.Slice)) {
		a.Signatures = append(a.Signatures, s)
	}
}

// AddChange adds a change, or counts it as omitted if it does not fit.
func (a *Archive) AddChange(c filter.Change) {
	if a.take(changeMemory) {
		a.Changed = append(a.Changed, c)
	}
}

func (a *Archive) take(n int) bool {
	if !a.budget.Take(n) {
		a.Omitted++
		return false
	}
	a.taken += n
	return true
}

// Release drops the lists, and returns their memory to the Budget.
func (a *Archive) Release() {
	a.Changed, a.Signatures = nil, nil
	a.budget.Give(a.taken)
	a.taken = 0
}

// Record makes cfg record the signatures and changes of its next run in the archive.
func (a *Archive) Record(cfg *filter.Config) {
	cfg.Signatures.Verify = true
	cfg.Observer.Changed, cfg.Observer.Signature = a.AddChange, a.AddSignature
}

// Count sets the numbers of entries and matches from a run. unused also lists rules that did not match.
func (a *Archive) Count(set *rules.Set, res *filter.Result, unused bool) {
	a.Entries = Entries{res.Regular, res.Directory, res.Symlink}
	if a.Rules = Rules(set, res.Counts, unused); !unused && !a.budget.Take(ruleMemory*len(a.Rules)) {
		a.Omitted += int64(len(a.Rules))
		a.Rules = nil
	}
}

// Rules lists rules and their numbers of matches. unused also lists rules that did not match.
func Rules(set *rules.Set, counts []int64, unused bool) []Rule {
	var list []Rule
	for i, n := range counts {
		if n > 0 || unused {
			r := set.Rule(i)
			list = append(list, Rule{r.From, r.To, n})
		}
	}
	return list
}
