package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"narseal/cmd/narseal/internal/inplace"
	"narseal/cmd/narseal/internal/nixcli"
	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/sandbox"
	"narseal/cmd/narseal/internal/scan"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/filter"
	"narseal/macho"
	"narseal/nar"
)

// InPlaceOptions are the options of repair --in-place.
type InPlaceOptions struct {
	Common
	Paths []string
	OnCMS macho.CMSPolicy
	Jobs  int
	Force bool // repair even in a Nix store with a database
}

// RepairInPlace repairs files and directories in place.
func RepairInPlace(ctx context.Context, e *Env, o *InPlaceOptions) error {
	file, err := e.OpenReport(o.Report)
	if err != nil {
		return err
	}
	defer file.Abort()
	if err := e.Restrict(sandbox.Policy{Edit: o.Paths, Finish: []string{o.Report}}); err != nil {
		return err
	}
	r := newInPlaceRun(e, o)
	e.Cleanup.OnStop(func() string {
		return fmt.Sprintf("%s repaired, the others are unchanged; the same command continues", report.Plural(r.count.Load(), "file", "files"))
	})
	for _, path := range o.Paths {
		r.path(ctx, path)
	}
	r.repairer.Elsewhere(func(path nar.Path, names uint64) {
		e.Terminal.Infof("%s: %s the old contents", path.Short(), report.Plural(int64(names), "hard link elsewhere keeps", "hard links elsewhere keep"))
	})
	e.WarnUnsigned(r.unsigned, "narseal verify")
	r.print(r.summary())
	if r.outErr != nil {
		return fmt.Errorf("output: %w", r.outErr)
	}
	r.invalid.hint(e, filter.RepairAll)
	if err := file.Write(r.inputs.Report().Write); err != nil {
		return err
	}
	return outcome(&r.total)
}

// outcome returns the error of a command with these counts. Failures outweigh invalid signatures.
func outcome(n *report.Tally) error {
	switch {
	case n.Failed > 0:
		return ErrFailed
	case n.Invalid > 0:
		return ErrInvalid
	}
	return nil
}

// inPlaceRun is one call of RepairInPlace.
type inPlaceRun struct {
	*Env
	repairer *inplace.Repairer
	inputs   *report.Inputs
	total    report.Tally
	out      io.Writer
	outErr   error
	count    atomic.Int64 // files that were replaced
	invalid  leftInvalid
	unsigned int64 // slices without a signature that need one
	// For the current path:
	rep   *report.Input
	tally *report.Tally
}

func newInPlaceRun(e *Env, o *InPlaceOptions) *inPlaceRun {
	r := &inPlaceRun{Env: e, out: e.List(), inputs: report.NewInputs("repair", o.Report != "", report.NewBudget(report.DefaultBudget))}
	r.repairer = &inplace.Repairer{
		Jobs: o.Jobs, OnCMS: o.OnCMS, Cleanup: e.Cleanup,
		Entered: e.entered(), Found: r.found, Slice: r.slice, Fail: r.fail, Sealed: r.replaced,
		Warn: func(path nar.Path, problem string) { e.Terminal.Warnf("%s: %s", path.Short(), problem) },
	}
	if !o.Force {
		r.repairer.Refuse = refuseStore
	}
	return r
}

// refuseStore returns an error if dir is the store directory of a Nix database.
func refuseStore(dir *scan.Entry) error {
	if dir.Name != "store" || !nixcli.IsStore(dir.Path().String()) {
		return nil
	}
	return terminal.Hint(fmt.Errorf("%s: it is a Nix store, whose database keeps the old hashes; nothing in it was repaired", dir.Path().Short()),
		"narseal store repair repairs the paths of a store and its database together; --force replaces the files alone")
}

// print prints a line, except with --quiet.
func (r *inPlaceRun) print(line string) {
	if r.outErr == nil && !r.Terminal.IsQuiet() {
		_, r.outErr = fmt.Fprintln(r.out, line)
	}
}

// summary describes in one line what the run did.
func (r *inPlaceRun) summary() string {
	n := r.count.Load()
	return fmt.Sprintf("%s repaired, %d left as they are; %s", report.Plural(n, "file", "files"), r.total.Entries.Regular-n, r.total.Verdict())
}

// path repairs the file or directory that one argument names.
func (r *inPlaceRun) path(ctx context.Context, path string) {
	r.rep, r.tally = r.inputs.Begin(path), &report.Tally{}
	kind, err := scan.Kind(path)
	if err == nil && kind == "" {
		err = terminal.Hint(errors.New("neither a directory nor a Mach-O file"), "narseal repair -o OUTPUT INPUT repairs an archive")
	}
	if err == nil {
		r.rep.Input = &report.Stream{Format: kind, Compression: "none"}
		err = r.repairer.Run(ctx, path)
	}
	if err != nil {
		r.fail(fmt.Errorf("%s: %w", path, err))
	}
	r.rep.End(r.tally, err)
	r.total.Sum(r.tally)
}

func (r *inPlaceRun) found(res *scan.Result, replaced bool) {
	r.Terminal.Progress().Add(res.Size)
	r.tally.AddFile(res.Type, res.Size, res.Report)
	if replaced {
		r.replaced(res.Path())
	}
}

func (r *inPlaceRun) replaced(path nar.Path) {
	r.count.Add(1)
	r.print("repaired  " + terminal.Printable(path.Short()))
	r.rep.Change(filter.Change{Path: path, Contents: true})
}

func (r *inPlaceRun) slice(path nar.Path, s macho.Slice) {
	if s.Status.OK() && !s.OK() {
		r.unsigned++
		report.UnsignedWarn.Apply(&s)
	}
	r.tally.AddSlice(&s)
	r.rep.Add(filter.Signature{Path: path, Slice: s})
	if !s.Status.OK() {
		r.WarnInvalid(path.Short(), &s)
		r.invalid.add(&s)
	}
}

// fail reports an error. A SignatureError does not count as a failure, because its signature already counts as invalid.
func (r *inPlaceRun) fail(err error) {
	var invalid *filter.SignatureError
	if !errors.As(err, &invalid) {
		r.tally.Failed++
	}
	r.Terminal.Error(err)
}
