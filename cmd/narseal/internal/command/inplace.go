package command

import (
	"context"
	"errors"
	"fmt"

	"narseal/cmd/narseal/internal/inplace"
	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/sandbox"
	"narseal/cmd/narseal/internal/scan"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/filter"
	"narseal/macho"
	"narseal/nar"
)

// InPlaceOptions are those of repair --in-place.
type InPlaceOptions struct {
	Common
	Paths []string
	OnCMS macho.CMSPolicy
	Jobs  int
}

// RepairInPlace repairs files and directories where they are.
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
	for _, path := range o.Paths {
		r.path(ctx, path)
	}
	r.repairer.Elsewhere(func(path nar.Path, names uint64) {
		e.Terminal.Infof("%s: %s of it elsewhere, with the old contents", path.Short(), report.Plural(int64(names), "hard link", "hard links"))
	})
	e.WarnUnsigned(r.unsigned, "narseal verify")
	e.Terminal.Infof("%s; %s replaced", &r.total, report.Plural(r.count, "file", "files"))
	if err := file.Write(r.inputs.Report().Write); err != nil {
		return err
	}
	return outcome(&r.total)
}

// outcome is how a command ends that counted what it saw: an error outweighs an invalid signature.
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
	count    int64 // files that were replaced
	unsigned int64 // slices without a signature that need one
	// Of the current path:
	rep   *report.Input
	tally *report.Tally
}

func newInPlaceRun(e *Env, o *InPlaceOptions) *inPlaceRun {
	r := &inPlaceRun{Env: e, inputs: report.NewInputs("repair", o.Report != "", report.NewBudget(report.DefaultBudget))}
	r.repairer = &inplace.Repairer{
		Jobs: o.Jobs, OnCMS: o.OnCMS, Cleanup: e.Cleanup,
		Entered: e.entered(), Found: r.found, Slice: r.slice, Fail: r.fail,
		Warn: func(path nar.Path, problem string) { e.Terminal.Warnf("%s: %s", path.Short(), problem) },
	}
	return r
}

// path repairs what one argument names.
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
		r.count++
		r.Terminal.Infof("%s: repaired", res.Path().Short())
		r.rep.Change(filter.Change{Path: res.Path(), Contents: true})
	}
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
	}
}

// fail reports what could not be done. An image that may not stay half repaired counts as an invalid signature.
func (r *inPlaceRun) fail(err error) {
	var invalid *filter.SignatureError
	if !errors.As(err, &invalid) {
		r.tally.Failed++
	}
	r.Terminal.Error(err)
}
