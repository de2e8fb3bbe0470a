package cachecmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"narseal/cmd/narseal/internal/cachestore"
	"narseal/cmd/narseal/internal/command"
	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/filter"
	"narseal/filter/rules"
	"narseal/nar/binarycache"
	"narseal/nar/binarycache/state"
	"narseal/nar/compression"
	"narseal/nar/storepath"
)

// Repair repairs the invalid signatures in a cache.
func Repair(ctx context.Context, e *command.Env, o *ChangeOptions) error {
	change := *o
	change.Rules, change.Repair = nil, filter.RepairAll
	return o.measured(e, "repair", func(m *meters) error { return change.run(ctx, e, "repair", m) })
}

// Rewrite applies rules to a cache, and repairs the signatures that this breaks.
func Rewrite(ctx context.Context, e *command.Env, o *ChangeOptions) error {
	return o.measured(e, "rewrite", func(m *meters) error { return o.run(ctx, e, "rewrite", m) })
}

func (o *ChangeOptions) run(ctx context.Context, e *command.Env, name string, m *meters) error {
	from, err := o.open(ctx, o.Cache)
	if err != nil {
		return err
	}
	to, output := from, ""
	if o.Output != "" {
		if to, err = o.open(ctx, o.Output); err != nil {
			return err
		}
		output = to.Name
	}
	bo, err := o.rewriteOptions(from, to)
	if err != nil {
		return err
	}
	plan, err := o.plan(ctx, e, from)
	if err != nil {
		return err
	}
	o.warnUnchecked(e.Terminal, from)
	r, err := newRun(e, &o.Options, from.Name, name, m)
	if err != nil {
		return err
	}
	defer r.file.Abort()
	r.write, r.out, r.rep.output, r.rep.dryRun = true, e.List(), output, o.DryRun
	r.cfg.Rules, r.cfg.Signatures.Repair, r.cfg.Signatures.OnCMS = o.Rules, o.Repair, o.OnCMS
	r.unsigned, r.cfg.Signatures.Unsigned = report.UnsignedWarn, o.Rules == nil || o.Report != ""
	if o.Rules != nil {
		r.rules = newRuleCounts(o.Rules)
	}
	if bo.Output != nil {
		bo.Output = &store{bo.Output, &r.writes, nil}
	}
	if !o.DryRun {
		e.Cleanup.OnStop(func() string {
			return fmt.Sprintf("the cache is valid, with %s changed; the same command continues", report.Plural(r.changed.Load(), "path", "paths"))
		})
	}
	bo.Filter, bo.TempFile = r.filter, func() (binarycache.TempFile, error) { return r.cfg.Spill.Open() }
	return r.recorded(ctx, &o.Options, o.ledgerWork(name), func() error {
		bo.Options = o.options(plan, r)
		bo.Exclude = o.exclude()
		bo.Warn = func(text string) { e.Terminal.Warnf("%s", text) }
		if r.ledger != nil {
			bo.Skip = r.skipChange(bo)
		}
		bo.Skip = plan.skip(bo.Skip)
		return o.change(ctx, r, bo, from, to)
	})
}

// change changes one cache, or writes another.
func (o *ChangeOptions) change(ctx context.Context, r *run, bo *binarycache.RewriteOptions, from, to *cachestore.Cache) error {
	dir := ""
	// A run with a ledger and an output needs no state: the ledger and the output show what is left to do. It also
	// takes no lock, so that runs of several shards can write the output at the same time.
	if !o.DryRun && (bo.Output == nil || r.ledger == nil) {
		var err error
		bo.State, dir, err = openState(r.Env, o.State, to, o.Shard.String(), o.work(r.rep.command, bo), bo.Once && bo.Output == nil)
		if err != nil {
			return err
		}
	}
	if err := o.restrict(r.Env, from, to, dir); err != nil {
		return errors.Join(err, closeState(bo.State))
	}
	sum, err := r.run(ctx, &bo.Options, from.Store, func(ctx context.Context) (binarycache.Summary, error) {
		sum, err := binarycache.Rewrite(ctx, &store{from.Store, &r.writes, r.access}, *bo)
		if err == nil && o.Overlay && !o.DryRun {
			err = o.writePage(ctx, r, from, to)
		}
		return sum, errors.Join(err, closeState(bo.State))
	})
	from.Warn(r.Terminal)
	to.Warn(r.Terminal)
	if err != nil {
		return o.explain(from, err)
	}
	if o.Rules == nil {
		r.WarnUnsigned(r.missing, "narseal cache verify")
	}
	if r.rules != nil && sum.Paths[binarycache.Finished]+sum.Paths[binarycache.Skipped] == 0 {
		r.WarnUnused(o.Rules, r.rules.counts)
	}
	r.Terminal.Infof("%s", summarize(sum, o.DryRun))
	return r.outcome(&o.Options, r.invalid)
}

func closeState(s *state.State) error {
	if s == nil {
		return nil
	}
	return s.Close()
}

// rewriteOptions returns the options for package binarycache, without those that the run adds. from and to are the same
// cache if it is changed in place.
func (o *ChangeOptions) rewriteOptions(from, to *cachestore.Cache) (*binarycache.RewriteOptions, error) {
	bo := &binarycache.RewriteOptions{DryRun: o.DryRun, Prune: o.Prune, Level: o.Level, SecretKeys: o.SecretKeys}
	if o.Compression != command.SameCompression {
		var err error
		if bo.Compression, err = compression.Parse(o.Compression); err != nil {
			return nil, terminal.Usage("", "--compression: %w", err)
		}
	}
	if o.Level != 0 && bo.Compression == "" {
		return nil, terminal.Usage("the formats' levels differ", "--level needs --compression")
	}
	if _, err := compression.Compress(io.Discard, cmp.Or(bo.Compression, compression.None), compression.Options{Level: o.Level}); err != nil {
		return nil, terminal.Usage("", "%w", err)
	}
	if o.Output != "" {
		if from.Same(to) {
			return nil, terminal.Usage("without --output the cache is changed in place", "input and output are the same cache")
		}
		if o.Prune {
			return nil, terminal.Usage("it deletes from a cache that is changed in place", "--prune cannot be used with --output")
		}
		bo.Output = to.Store
	}
	if err := o.checkOverlay(); err != nil {
		return nil, err
	}
	bo.Overlay, bo.Priority = o.Overlay, o.Priority
	if o.Rules != nil {
		bo.Rename, bo.Once = o.Rules.Apply, !idempotent(o.Rules)
	}
	return bo, nil
}

// exclude returns a function that reports whether to leave a path out: those that the user names, and those that a rule
// replaces with another path.
func (o *ChangeOptions) exclude() func(base string) bool {
	replaced := func(base string) bool { return o.Rules != nil && !o.Rename && o.Rules.Apply(base) != base }
	return func(base string) bool { return o.Exclude[base[:storepath.HashLen]] || replaced(base) }
}

// idempotent reports whether the rules leave their own replacements unchanged.
func idempotent(set *rules.Set) bool {
	for i := range set.Len() {
		if to := set.Rule(i).To; set.Apply(to) != to {
			return false
		}
	}
	return true
}

// work describes everything that affects how a path is changed. If rules change a cache in place and must not be
// applied twice, it describes only the rules: another key, compression or version must not start the work again.
func (o *ChangeOptions) work(name string, bo *binarycache.RewriteOptions) string {
	var b strings.Builder
	fmt.Fprintf(&b, "cache %s\n", name)
	if !bo.Once || bo.Output != nil {
		fmt.Fprintf(&b, "narseal %s\nrepair %d\non-cms %d\ncompression %s %d\n", o.Version, o.Repair, o.OnCMS, bo.Compression, bo.Level)
		for _, k := range o.SecretKeys {
			fmt.Fprintf(&b, "key %s\n", k.ToPublicKey())
		}
	}
	if o.Rules != nil {
		fmt.Fprintf(&b, "rename %v\nencodings %s\n", o.Rename, o.Encodings)
		for i := range o.Rules.Len() {
			r := o.Rules.Rule(i)
			fmt.Fprintf(&b, "%s=%s\n", r.From, r.To)
		}
	}
	return b.String()
}

// restrict gives up all rights except those to read one cache and write the other. state is the directory of the run's
// state, which is already open, or empty.
func (o *ChangeOptions) restrict(e *command.Env, from, to *cachestore.Cache, state string) error {
	p := policy(&o.Options, from)
	to.Grant(&p, !o.DryRun)
	if state != "" {
		p.Own = append(p.Own, state)
	}
	return e.Restrict(p)
}

// summarize describes in one line how a run ended.
func summarize(s binarycache.Summary, dry bool) string {
	changed := "changed"
	if dry {
		changed = "would change"
	}
	text := fmt.Sprintf("%s %s, %d unchanged", report.Plural(int64(s.Paths[binarycache.Changed]), "path", "paths"), changed, s.Paths[binarycache.Unchanged])
	for _, more := range []struct {
		n    int
		what string
	}{
		{s.Paths[binarycache.Finished], "finished before"}, {s.Paths[binarycache.Excluded], "left out"}, {s.Paths[binarycache.Skipped], "skipped"},
		{s.Paths[binarycache.Missing], "missing"}, {s.Paths[binarycache.Failed], "failed"},
	} {
		if more.n > 0 {
			text += fmt.Sprintf(", %d %s", more.n, more.what)
		}
	}
	if s.Others > 0 {
		text += fmt.Sprintf(", %s written", report.Plural(int64(s.Others), "log, realisation or debuginfo", "logs, realisations and debuginfos"))
	}
	if s.Pruned > 0 {
		text += fmt.Sprintf(", %s deleted", report.Plural(int64(s.Pruned), "object", "objects"))
	}
	return text
}
