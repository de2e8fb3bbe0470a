// Package report prints what the commands of narseal find: as text, JSON and annotations of GitHub Actions, and in the
// files of --report.
package report

import (
	"narseal/filter"
	"narseal/filter/rules"
)

// Schema is the version of the JSON that --report writes.
const Schema = "narseal/1"

// Report is what --report writes.
type Report struct {
	Schema  string
	Command string
	*Input
	// Inputs take the place of Input where a command had several.
	Inputs []*Input
}

// New returns the report of a command that has one input.
func New(command string) *Report {
	return &Report{Schema: Schema, Command: command, Input: &Input{}}
}

// Input is what a command did with one input.
type Input struct {
	// Name is the input's name as the user gave it, where there are several.
	Name  string
	Input *Stream
	// Output is nil if none was written, or the run failed.
	Output *Stream
	Error  string
	// Archive is what the input held. An export stream has Archives instead.
	*Archive
	Archives []*Archive
	// OmittedArchives counts those that the Budget had no room for.
	OmittedArchives int64
	// Totals count the rules in all Archives together.
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
	// Rules are all rules of the run. In a cache, and in an export stream whose archives have listed MaxRules, they are
	// those that matched.
	Rules      []Rule
	Changed    []filter.Change
	Signatures []filter.Signature
	// Omitted counts the changes, signatures and rules that matched, as far as the Budget had no room for them.
	Omitted int64

	budget *Budget
	taken  int
}

// NewArchive returns an empty Archive whose lists are bounded by b.
func NewArchive(b *Budget) *Archive { return &Archive{budget: b} }

// Entries counts the entries of an archive.
type Entries struct {
	Regular   int64 `json:"regular"`
	Directory int64 `json:"directory"`
	Symlink   int64 `json:"symlink"`
}

// Rule says how often a rule matched.
type Rule struct {
	From  string `json:"from"`
	To    string `json:"to"`
	Count int64  `json:"count"`
}

// MaxRules bounds the rules that the archives of an export stream list whether they matched or not: with many archives
// and many rules they would take far more memory than the stream.
const MaxRules = 1 << 20

// AddSignature adds a slice, if there is room for it.
func (a *Archive) AddSignature(s filter.Signature) {
	if a.take(Memory(&s.Slice)) {
		a.Signatures = append(a.Signatures, s)
	}
}

// AddChange adds a change, if there is room for it.
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

// Release drops the lists, and returns to the Budget what they took.
func (a *Archive) Release() {
	a.Changed, a.Signatures = nil, nil
	a.budget.Give(a.taken)
	a.taken = 0
}

// Record makes cfg add what its next run finds.
func (a *Archive) Record(cfg *filter.Config) {
	cfg.Signatures.Verify = true
	cfg.Observer.Changed, cfg.Observer.Signature = a.AddChange, a.AddSignature
}

// Count sets the numbers that a run counted. Rules that did not match are listed if unused is set.
func (a *Archive) Count(set *rules.Set, res *filter.Result, unused bool) {
	a.Entries = Entries{res.Regular, res.Directory, res.Symlink}
	if a.Rules = Rules(set, res.Counts, unused); !unused && !a.budget.Take(ruleMemory*len(a.Rules)) {
		a.Omitted += int64(len(a.Rules))
		a.Rules = nil
	}
}

// Rules lists rules with how often each matched, those that did not only if unused is set.
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
