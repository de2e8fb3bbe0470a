package cachecmd

import (
	"context"
	"errors"
	"os"

	"narseal/cmd/narseal/internal/cachestore"
	"narseal/cmd/narseal/internal/command"
	"narseal/cmd/narseal/internal/ledger"
	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/sandbox"
	"narseal/filter"
	"narseal/nar/binarycache"
)

// Verify checks every NAR of a cache against its narinfo, and reports every signature.
func Verify(ctx context.Context, e *command.Env, o *VerifyOptions) error {
	return o.measured(e, "verify", func(m *meters) error { return o.verify(ctx, e, m) })
}

func (o *VerifyOptions) verify(ctx context.Context, e *command.Env, m *meters) error {
	cache, err := o.open(ctx, o.Cache)
	if err != nil {
		return err
	}
	plan, err := o.plan(ctx, e, cache)
	if err != nil {
		return err
	}
	r, err := newRun(e, &o.Options, cache.Name, "verify", m)
	if err != nil {
		return err
	}
	defer r.file.Abort()
	return r.recorded(ctx, &o.Options, ledger.Options{Command: "cache verify"}, func() error {
		return o.run(ctx, r, plan, cache)
	})
}

func (o *VerifyOptions) run(ctx context.Context, r *run, plan *plan, cache *cachestore.Cache) error {
	r.cfg.Signatures.Repair, r.cfg.Signatures.Verify = filter.RepairNone, true
	r.unsigned, r.cfg.Signatures.Unsigned = o.List.Unsigned, o.List.Unsigned != report.UnsignedIgnore
	r.list = r.NewList(&o.List, r.budget)
	p := policy(&o.Options, cache)
	if o.List.Format == "github" {
		p.Append = []string{o.List.Summary}
	}
	if err := r.Restrict(p); err != nil {
		return err
	}
	bo := o.options(plan, r)
	if r.ledger != nil {
		bo.Skip = r.skip
	}
	bo.Skip = plan.skip(bo.Skip)
	sum, err := r.run(ctx, &bo, cache.Store, func(ctx context.Context) (binarycache.Summary, error) {
		return binarycache.Verify(ctx, &store{cache.Store, &r.writes, r.access}, binarycache.VerifyOptions{Options: bo, Inspect: r.inspect})
	})
	if err = o.explain(cache, err); err != nil && len(sum.Paths) == 0 {
		return err
	}
	if err := errors.Join(err, r.list.End(&r.total)); err != nil {
		return err
	}
	return r.outcome(&o.Options, r.total.Invalid > 0)
}

// policy returns the rights that a command needs to read a cache. Its report is already open.
func policy(o *Options, cache *cachestore.Cache) sandbox.Policy {
	p := sandbox.Policy{Finish: []string{o.Report}, Temp: os.TempDir()}
	cache.Grant(&p, false)
	o.grantRecords(&p)
	return p
}
