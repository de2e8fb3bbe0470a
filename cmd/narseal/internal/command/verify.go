package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"narseal/cmd/narseal/internal/atomicfile"
	"narseal/cmd/narseal/internal/htmlreport"
	"narseal/cmd/narseal/internal/input"
	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/sandbox"
	"narseal/cmd/narseal/internal/scan"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/filter"
	"narseal/macho"
	"narseal/nar"
)

// VerifyOptions are the options of verify.
type VerifyOptions struct {
	Common
	Inputs  []string
	List    ListOptions
	HTML    string // the file of the HTML report; empty: none
	Version string // of narseal, for the HTML report
	Jobs    int
}

// ListOptions describe how slices are listed.
type ListOptions struct {
	Format string // text, json or github
	All    bool   // list valid slices, too
	// Unsigned says how code counts that needs a signature but has none.
	Unsigned report.Unsigned
	// Summary is the file that GITHUB_STEP_SUMMARY names.
	Summary string
}

// NewList returns a list in the requested format, which is written to stdout.
func (e *Env) NewList(o *ListOptions, b *report.Budget) report.List {
	switch o.Format {
	case "github":
		list := report.NewGitHub(e.List(), o.Summary)
		list.Quiet = e.Terminal.IsQuiet()
		return list
	case "json":
		return report.NewJSON(e.List(), b)
	}
	return report.NewTable(e.List(), report.TableOptions{All: o.All, Quiet: e.Terminal.IsQuiet(), Style: terminal.StyleOf(e.Stdout)})
}

// Verify reports every signature in the inputs.
func Verify(ctx context.Context, e *Env, o *VerifyOptions) error {
	file, err := e.OpenReport(o.Report)
	if err != nil {
		return err
	}
	defer file.Abort()
	v, err := newVerifyRun(e, o)
	if err != nil {
		return err
	}
	p := sandbox.Policy{Read: o.Inputs, Finish: []string{o.HTML, o.Report}, Temp: os.TempDir()}
	if o.List.Format == "github" {
		p.Append = []string{o.List.Summary}
	}
	if err := e.Restrict(p); err != nil {
		return err
	}
	for _, name := range o.Inputs {
		v.input(ctx, name)
	}
	if v.packed > 0 {
		e.Terminal.Warnf("%s not unpacked: the files in tar and zip archives are not checked",
			report.Plural(v.packed, "archive was", "archives were"))
	}
	if err := v.list.End(&v.total); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	if err := file.Write(v.inputs.Report().Write); err != nil {
		return err
	}
	return outcome(&v.total)
}

// verifyRun is one call of Verify.
type verifyRun struct {
	*Env
	cfg    filter.Config
	budget *report.Budget // for what is remembered of the inputs
	list   report.List
	inputs *report.Inputs
	total  report.Tally
	// unsigned says how a slice counts that needs a signature but has none.
	unsigned report.Unsigned
	packed   int64 // inputs that are tar or zip archives
	// For the current input:
	name  string
	rep   *report.Input
	tally *report.Tally
	mend  report.Repair
	// inStore returns the store path that contains a file on disk. It is nil until an invalid slice needs it.
	inStore func(nar.Path) string
}

func newVerifyRun(e *Env, o *VerifyOptions) (*verifyRun, error) {
	v := &verifyRun{Env: e, budget: report.NewBudget(report.DefaultBudget), unsigned: o.List.Unsigned}
	v.inputs = report.NewInputs("verify", o.Report != "", v.budget)
	v.cfg.Signatures = filter.SignatureOptions{
		Repair: filter.RepairNone, Verify: true, Unsigned: v.unsigned != report.UnsignedIgnore, Locate: o.HTML != "", Jobs: o.Jobs,
	}
	v.cfg.Spill = o.Spill(e, o.Memory())
	v.list = e.NewList(&o.List, v.budget)
	if o.HTML != "" {
		out, err := atomicfile.Create(e.Cleanup, o.HTML)
		if err != nil {
			return nil, fmt.Errorf("--html: %w", err)
		}
		v.list = report.Lists{v.list, htmlreport.New(htmlreport.Options{
			Out: out, Commit: out.Commit, Inputs: o.Inputs, Version: o.Version, Budget: v.budget,
		})}
	}
	return v, nil
}

// input verifies the file, directory or stream that one argument names, and reports errors.
func (v *verifyRun) input(ctx context.Context, name string) {
	v.name, v.rep, v.tally, v.mend = name, v.inputs.Begin(name), &report.Tally{}, mendArchive(name)
	v.inStore = nil
	err := v.open(ctx)
	if err != nil {
		v.fail(fmt.Errorf("%s: %w", input.Shown(name), err))
	}
	v.rep.End(v.tally, err)
	v.total.Sum(v.tally)
}

func (v *verifyRun) open(ctx context.Context) error {
	if v.name != input.Stdin {
		kind, err := scan.Kind(v.name)
		if errors.Is(err, fs.ErrNotExist) && isStorePathSymlink(v.name) {
			v.tally.Entries.Symlink++
			return nil
		}
		if err != nil {
			return err
		}
		if kind != "" {
			v.rep.Input = &report.Stream{Format: kind, Compression: "none"}
			v.mend = mendFiles(v.name)
			return v.files(ctx)
		}
	}
	in, err := input.Open(v.name, v.Stdin, v.Terminal.Progress())
	if err != nil {
		return err
	}
	defer in.Close()
	if err := v.stream(ctx, in); err != nil {
		return err
	}
	return in.Unchanged()
}

// files verifies a Mach-O file on disk, or all files in a directory.
func (v *verifyRun) files(ctx context.Context) error {
	s := &scan.Scanner{
		Jobs:     v.cfg.Signatures.Jobs,
		Examine:  scan.Verifier(v.cfg.Signatures.Locate),
		ReadOnly: true,
		Unsigned: v.cfg.Signatures.Unsigned,
		Found: func(r *scan.Result) {
			v.Terminal.Progress().Add(r.Size)
			v.budget.Entry(r.Size)
			v.tally.AddFile(r.Type, r.Size, r.Report)
		},
		Slice: func(path nar.Path, s macho.Slice) {
			v.add(filter.Signature{Path: path, Slice: s}, true)
		},
		Fail:    v.fail,
		Entered: v.entered(),
	}
	return s.Run(ctx, v.name)
}

// stream verifies an archive, an export stream or a single image.
func (v *verifyRun) stream(ctx context.Context, in *input.Input) error {
	in.Memory = v.cfg.Spill.Budget
	s, err := in.Stream()
	if err != nil {
		return err
	}
	defer s.Close()
	r, entered := v.Terminal.Progress().Follow(v.budget.Reader(s.Reader))
	v.cfg.Observer.Entry = entered
	var sum *report.StreamHash
	if v.inputs.Wanted() {
		sum = report.NewStreamHash()
		r = sum.Reader(r)
	}
	switch s.Format {
	case nar.FormatExport:
		err = v.export(r)
	case nar.FormatNAR:
		err = v.archive(r)
	default:
		err = v.unknown(ctx, in, s, r)
	}
	if sum != nil {
		v.rep.Input = &report.Stream{Format: s.FormatName(), Compression: string(s.Compression), Size: sum.Size(), NarHash: sum.SRI()}
	}
	return err
}

func (v *verifyRun) archive(r io.Reader) error {
	v.cfg.Observer.Signature = func(s filter.Signature) { v.add(s, false) }
	res, err := v.cfg.Run(nil, nar.NewReader(r))
	v.tally.AddResult(&res)
	return err
}

// export verifies each archive of an export stream. Slices are listed only when the archive's store path is known,
// which comes after the archive.
func (v *verifyRun) export(r io.Reader) error {
	waiting := report.NewWaiting(v.budget)
	invalid := map[macho.Status]int64{} // of the current archive
	v.cfg.Observer.Signature = func(s filter.Signature) {
		v.unsigned.Apply(&s.Slice)
		v.tally.AddSlice(&s.Slice)
		if !s.OK() {
			invalid[report.MendStatus(&s.Slice)]++
		}
		waiting.Add(s)
	}
	v.cfg.Observer.EndArchive = func(t *nar.Trailer, res *filter.Result) {
		for status, n := range invalid {
			v.tally.Mend.Add(status, n, mendExported(v.name, t.Path))
		}
		clear(invalid)
		v.rep.AddArchive(t.Path, waiting, res)
		waiting.Flush(v.list, v.name, t.Path)
	}
	res, err := v.cfg.RunExport(nil, nar.NewExportReader(r))
	waiting.Flush(v.list, v.name, "") // of an archive that was cut off
	v.tally.AddResult(&res)
	return err
}

// add counts and lists a slice, and adds it to the report.
func (v *verifyRun) add(s filter.Signature, onDisk bool) {
	v.unsigned.Apply(&s.Slice)
	v.tally.AddSlice(&s.Slice)
	if !s.OK() {
		v.tally.Mend.Add(report.MendStatus(&s.Slice), 1, v.mend)
	}
	item := &report.Item{Input: v.name, OnDisk: onDisk, Signature: s}
	if onDisk && !s.OK() {
		if v.inStore == nil {
			v.inStore = inStoreOf(v.name)
		}
		item.InStore = v.inStore(s.Path)
	}
	v.list.Add(item)
	v.rep.Add(s)
}

func (v *verifyRun) fail(err error) {
	v.tally.Failed++
	if errors.Is(err, context.Canceled) {
		return // the run ends
	}
	v.Terminal.Error(err)
	v.list.Fail(err)
}
