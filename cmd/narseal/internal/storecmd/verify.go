package storecmd

import (
	"context"
	"errors"
	"fmt"
	"os"

	"narseal/cmd/narseal/internal/atomicfile"
	"narseal/cmd/narseal/internal/command"
	"narseal/cmd/narseal/internal/htmlreport"
	"narseal/cmd/narseal/internal/nixcli"
	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/sandbox"
)

// Verify reports every signature in valid paths.
func Verify(ctx context.Context, e *command.Env, o *VerifyOptions) error {
	r, err := newRun(ctx, e, &o.Options, "verify")
	if err != nil {
		return err
	}
	defer r.file.Abort()
	r.unsigned = o.List.Unsigned
	list, err := o.newList(r)
	if err != nil {
		return err
	}
	r.onFail = list.Fail
	paths := nixcli.NewPathList(o.Spill(e, nil).Open)
	defer paths.Close()
	if err := o.listComplete(ctx, r, paths); err != nil {
		return err
	}
	// Nix is not needed from here on.
	policy, err := o.policy(r.store, paths)
	if err == nil {
		err = e.Restrict(policy)
	}
	if err != nil {
		return err
	}
	err = r.each(ctx, paths, r.scan, func(f *pathFound) error {
		if f.status == failed && r.store.IsGone(f.Base) {
			f.disappear(r.budget)
			e.Terminal.Warnf("%s: it disappeared during the run", r.store.Path(f.Base))
		}
		for _, err := range f.errs {
			r.fail(err)
		}
		r.total.Sum(&f.tally)
		if f.status != gone {
			r.print(list, f)
		}
		r.rep.add(r, f)
		return nil
	})
	if err := errors.Join(err, list.End(&r.total)); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	if err := r.file.Write(r.rep.write); err != nil {
		return err
	}
	return r.outcome()
}

func (o *VerifyOptions) newList(r *run) (report.List, error) {
	list := r.NewList(&o.List, r.budget)
	if o.HTML == "" {
		return list, nil
	}
	r.locate = true
	out, err := atomicfile.Create(r.Cleanup, o.HTML)
	if err != nil {
		return nil, fmt.Errorf("--html: %w", err)
	}
	return report.Lists{list, htmlreport.New(htmlreport.Options{
		Out: out, Commit: out.Commit, Inputs: o.inputs(r.store), Version: o.Version, Budget: r.budget,
	})}, nil
}

// print lists the signatures of a path.
func (r *run) print(list report.List, f *pathFound) {
	input := r.store.Dir
	for i := range f.signatures {
		list.Add(&report.Item{Input: input, StorePath: r.store.Path(f.Base), OnDisk: true, Signature: f.signatures[i]})
	}
	if f.omitted > 0 {
		list.Omit(f.omitted)
	}
}

// listComplete lists the paths to verify. It leaves out and reports those that do not exist on disk, and those whose repair by
// store repair is not complete.
func (o *VerifyOptions) listComplete(ctx context.Context, r *run, paths *nixcli.PathList) error {
	incomplete := r.findIncomplete(ctx, "")
	valid := 0
	err := o.list(ctx, r.store, r.leaveOut, func(p *nixcli.Path) error {
		valid++
		switch {
		case incomplete[p.Base] != nil:
			r.leaveOut(*p, incomplete[p.Base])
		case r.store.IsGone(p.Base):
			r.leaveOut(*p, missing(r.store, p.Base))
		default:
			return paths.Add(p)
		}
		return nil
	})
	if err == nil && len(o.Paths) == 0 && valid == 0 {
		r.Terminal.Warnf("%s: the store has no valid paths, so nothing is checked", r.store.Dir)
	}
	return err
}

// maxGrants is the maximum number of paths in the policy. If there are more, it grants the whole store.
const maxGrants = 64

// policy returns the rights for verifying these paths. The reports are already open.
func (o *VerifyOptions) policy(s *nixcli.Store, paths *nixcli.PathList) (sandbox.Policy, error) {
	p := sandbox.Policy{Read: []string{s.RealDir}, Finish: []string{o.HTML, o.Report}, Temp: os.TempDir()}
	if o.List.Format == "github" {
		p.Append = []string{o.List.Summary}
	}
	if paths.Len() > maxGrants {
		return p, nil
	}
	p.Read = nil
	return p, paths.Each(func(path *nixcli.Path) error {
		p.Read = append(p.Read, s.Real(path.Base))
		return nil
	})
}
