package report

import "narseal/filter"

// Inputs builds the report of a command that takes several inputs. Without --report, it collects nothing.
type Inputs struct {
	wanted bool
	budget *Budget
	report Report
}

// NewInputs returns an empty report.
func NewInputs(command string, wanted bool, b *Budget) *Inputs {
	return &Inputs{wanted: wanted, budget: b, report: Report{Schema: Schema, Command: command}}
}

// Wanted reports whether a report was requested.
func (r *Inputs) Wanted() bool { return r.wanted }

// Begin begins the next input. Without --report, the returned Input collects nothing.
func (r *Inputs) Begin(name string) *Input {
	in := &Input{Name: name}
	if r.wanted {
		r.report.Inputs = append(r.report.Inputs, in)
		in.Archive = NewArchive(r.budget)
	}
	return in
}

// Report returns the report. A single input is reported without a list.
func (r *Inputs) Report() *Report {
	rep := r.report
	if len(rep.Inputs) == 1 {
		in := *rep.Inputs[0]
		in.Name = ""
		rep.Input, rep.Inputs = &in, nil
	}
	return &rep
}

// Add adds a slice.
func (in *Input) Add(s filter.Signature) {
	if in.Archive != nil {
		in.AddSignature(s)
	}
}

// Change adds a file that was replaced.
func (in *Input) Change(c filter.Change) {
	if in.Archive != nil {
		in.AddChange(c)
	}
}

// AddArchive adds an archive of an export stream, with the slices that w holds.
func (in *Input) AddArchive(storePath string, w *Waiting, res *filter.Result) {
	if in.Archive == nil {
		return
	}
	a := in.BeginArchive(in.budget)
	a.Entries, a.Omitted = Entries{res.Regular, res.Directory, res.Symlink}, w.omitted
	for _, s := range w.list {
		a.AddSignature(s)
	}
	in.EndArchive(a, storePath)
}

// BeginArchive adds an archive of an export stream, whose lists are limited by b. If the archive does not fit, it is
// counted as omitted and collects nothing.
func (in *Input) BeginArchive(b *Budget) *Archive {
	if !b.Take(archiveMemory) {
		in.OmittedArchives++
		return NewArchive(NewBudget(0))
	}
	a := NewArchive(b)
	in.Archives = append(in.Archives, a)
	return a
}

// EndArchive sets the store path of the archive that was added last.
func (in *Input) EndArchive(a *Archive, storePath string) {
	last := len(in.Archives) - 1
	switch {
	case last < 0 || in.Archives[last] != a: // it was left out
	case a.budget.Take(len(storePath)):
		a.StorePath = storePath
	default:
		a.Release()
		in.Archives = in.Archives[:last]
		in.OmittedArchives++
	}
}

// End completes the report of an input.
func (in *Input) End(n *Tally, err error) {
	if in.Archive == nil {
		return
	}
	in.Entries = n.Entries
	if in.Archives != nil || in.OmittedArchives > 0 {
		in.Archive = nil
	}
	if in.Input != nil && in.Input.NarHash == "" {
		in.Input.Size = n.Size
	}
	if err != nil {
		in.Error = err.Error()
	}
}
