package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"narseal/cmd/narseal/internal/report"
	"narseal/filter"
	"narseal/filter/rules"
	"narseal/nar"
	"narseal/nar/binarycache"
)

// cacheWork is one call of a cache command.
type cacheWork struct {
	t     *terminal
	cfg   *filter.Config // which each path gets a copy of
	write bool
	name  string // of the cache, as the user gave it
	out   io.Writer
	list  report.List // of verify, else nil
	rep   *cacheReport
	left  *report.Budget // for what is kept of the paths
	total report.Tally

	unsealed bool // a path was passed on, or refused, with a signature that does not hold
	failed   bool
	outErr   error

	mu    sync.Mutex
	found map[string]*pathFound // by store path, until it is told
}

// pathFound is what the filter has found of a path. It is told when the path is done,
// for only then is it known that the NAR was the right one.
type pathFound struct {
	*report.Archive
	tally    report.Tally // of all slices, whether the archive lists them or not
	unsealed []filter.Signature
	more     int64 // invalid signatures of the output that are not in unsealed
	result   filter.Result
}

// record collects what a run of cfg finds, as far as the budget allows, and counts all of it.
func (f *pathFound) record(cfg *filter.Config, left *report.Budget) {
	f.Record(cfg)
	list := cfg.Observer.Signature
	cfg.Observer.Signature = func(s filter.Signature) {
		f.tally.AddSlice(&s.Slice)
		list(s)
	}
	cfg.Observer.Invalid = func(s filter.Signature) {
		if !left.Take(report.Memory(&s.Slice)) {
			f.more++
			return
		}
		f.unsealed = append(f.unsealed, s)
	}
}

// newCacheWork begins the work of a command of which cfg is known.
func newCacheWork(c *cli.Context, t *terminal, cfg *filter.Config, o *binarycache.Options) (*cacheWork, error) {
	t.configure(c)
	if c.String("progress") == "auto" && !t.quiet && !isTerminal(t.stderr) {
		t.startProgress(progressLines)
	}
	w := &cacheWork{t: t, cfg: cfg, name: c.Args().First(), found: map[string]*pathFound{}, left: report.NewBudget(report.DefaultBudget)}
	out, err := openOutput(c.Context, "-", c.App.Writer)
	if err != nil {
		return nil, err
	}
	w.out = t.beside(out)
	if c.IsSet("report") {
		if w.rep, err = newCacheReport(c); err != nil {
			return nil, err
		}
	}
	cfg.Signatures.Jobs = max(1, runtime.GOMAXPROCS(0)/o.Jobs)
	o.Done = w.done
	return w, nil
}

func verifyCache(c *cli.Context, t *terminal) error {
	cache, dir, err := cacheArg(c)
	if err != nil {
		return err
	}
	o, err := cacheOptions(c)
	if err != nil {
		return err
	}
	cfg, err := filterConfig(c)
	if err != nil {
		return err
	}
	cfg.Signatures.Repair, cfg.Signatures.Verify = filter.RepairNone, true
	w, err := newCacheWork(c, t, cfg, &o)
	if err != nil {
		return err
	}
	if err := restrict(c, t, cachePolicy(c, dir)); err != nil {
		return err
	}
	w.list = newList(c, w.out, w.left)
	sum, err := w.run(c, &o, func(ctx context.Context) (binarycache.Summary, error) {
		return binarycache.Verify(ctx, cache, binarycache.VerifyOptions{Options: o, Inspect: w.inspect})
	})
	if err != nil && len(sum.Paths) == 0 {
		return err
	}
	if err := errors.Join(err, w.list.End(&w.total)); err != nil {
		return err
	}
	return w.status(w.total.Invalid > 0)
}

func rewriteCache(c *cli.Context, t *terminal, cfg *filter.Config) error {
	cache, dir, err := cacheArg(c)
	if err != nil {
		return err
	}
	o, err := cacheOptions(c)
	if err != nil {
		return err
	}
	ro := binarycache.RewriteOptions{Options: o}
	if err := changeOptions(c, dir, &ro); err != nil {
		return err
	}
	w, err := newCacheWork(c, t, cfg, &ro.Options)
	if err != nil {
		return err
	}
	w.write = true
	if cfg.Rules != nil {
		ro.Rename, ro.Once = cfg.Rules.Apply, !idempotent(cfg.Rules)
	}
	ro.Filter, ro.TempFile = w.filter, func() (binarycache.TempFile, error) { return cfg.Spill.Open() }
	if !ro.DryRun {
		if ro.State, err = openState(c, t, dir, describeWork(c, cfg, &ro), ro.Once && ro.Output == nil); err != nil {
			return err
		}
	}
	if err := restrictToCache(c, t, dir, &ro); err != nil {
		return err
	}
	sum, err := w.run(c, &ro.Options, func(ctx context.Context) (binarycache.Summary, error) {
		sum, err := binarycache.Rewrite(ctx, cache, ro)
		if ro.State != nil {
			err = errors.Join(err, ro.State.Close())
		}
		return sum, err
	})
	if err != nil {
		return err
	}
	t.inform("%s", summarize(sum, ro.DryRun))
	return w.status(w.unsealed)
}

// run runs the work, with progress, and writes the report. When the program is stopped,
// it gets the time to clear away what it is writing.
func (w *cacheWork) run(c *cli.Context, o *binarycache.Options, work func(context.Context) (binarycache.Summary, error)) (binarycache.Summary, error) {
	if w.rep != nil {
		defer w.rep.out.abort()
	}
	w.t.progress.beginItems(1, 1) // Planned knows better soon
	o.Planned = func(paths int, bytes int64) { w.t.progress.setTotals(int64(paths), bytes) }
	o.Read = func(n int) { w.t.progress.add(int64(n)) }
	ended := make(chan struct{})
	release, err := exitsOf(c.Context).hold(func() (func(), error) {
		return func() {
			select {
			case <-ended:
			case <-time.After(2 * time.Second):
			}
		}, nil
	})
	if err != nil {
		return binarycache.Summary{}, err
	}
	sum, err := work(c.Context)
	close(ended)
	err = errors.Join(err, w.outErr, release(func() error { return nil }))
	if w.rep != nil {
		err = errors.Join(err, w.rep.write(sum, err))
	}
	return sum, err
}

// status is how the command ends: what could not be done outweighs a signature that
// does not hold.
func (w *cacheWork) status(unsealed bool) error {
	switch {
	case w.failed:
		return errFailed
	case unsealed:
		return errUnsealed
	}
	return nil
}

// idempotent tells whether rules find nothing in what they have written.
func idempotent(set *rules.Set) bool {
	for i := range set.Len() {
		if to := set.Rule(i).To; set.Apply(to) != to {
			return false
		}
	}
	return true
}

// describeWork names all that decides what becomes of a path. Where the work must not be done twice, that is the rules
// alone: another key, compression or version of the program does not make it other work.
func describeWork(c *cli.Context, cfg *filter.Config, o *binarycache.RewriteOptions) string {
	var b strings.Builder
	fmt.Fprintf(&b, "cache %s\n", c.Command.Name)
	if !o.Once || o.Output != nil {
		fmt.Fprintf(&b, "narseal %s\nrepair %d\non-cms %d\ncompression %s %d\n",
			versionString(), cfg.Signatures.Repair, cfg.Signatures.OnCMS, o.Compression, o.Level)
		for _, k := range o.SecretKeys {
			fmt.Fprintf(&b, "key %s\n", k.ToPublicKey())
		}
	}
	if cfg.Rules != nil {
		fmt.Fprintf(&b, "encodings %s\n", c.String("encodings"))
		for i := range cfg.Rules.Len() {
			r := cfg.Rules.Rule(i)
			fmt.Fprintf(&b, "%s=%s\n", r.From, r.To)
		}
	}
	return b.String()
}

// inspect is binarycache's Inspect.
func (w *cacheWork) inspect(ctx context.Context, p *binarycache.Path, src io.Reader) error {
	return w.filter(ctx, p, nil, src)
}

// filter is binarycache's Filter.
func (w *cacheWork) filter(_ context.Context, p *binarycache.Path, dst io.Writer, src io.Reader) error {
	w.t.progress.at(&p.StorePath)
	cfg := *w.cfg
	f := &pathFound{Archive: report.NewArchive(w.left)}
	f.StorePath = p.StorePath
	f.record(&cfg, w.left)
	cfg.Signatures.Verify = w.cfg.Signatures.Verify || w.rep != nil && !p.Again
	write := w.write && !p.Finished
	if p.Finished {
		cfg.Rules, cfg.Signatures.Repair, cfg.Signatures.Verify = nil, filter.RepairNone, true
	}

	var err error
	if p.Retry {
		if !write {
			dst = nil
		}
		f.result, err = runCopy(&cfg, dst, src)
	} else {
		var dw *nar.Writer
		if write {
			dw = nar.NewWriter(dst)
		}
		f.result, err = cfg.Run(dw, nar.NewReader(src))
	}
	var rename *filter.RenameError
	if errors.As(err, &rename) && !rename.IsClash() && !p.Retry {
		return fmt.Errorf("%w (%w)", err, binarycache.ErrRetry)
	}
	f.Count(cfg.Rules, &f.result, false)
	if !p.Again {
		w.mu.Lock()
		w.found[p.StorePath] = f
		w.mu.Unlock()
	}
	return err
}

// runCopy runs cfg over a copy of a NAR in a temporary file, which can be read twice.
func runCopy(cfg *filter.Config, dst io.Writer, src io.Reader) (filter.Result, error) {
	f, err := cfg.Spill.Open()
	if err != nil {
		return filter.Result{}, fmt.Errorf("temporary file: %w", err)
	}
	defer f.Close()
	size, err := io.Copy(io.NewOffsetWriter(f, 0), src)
	if err != nil {
		return filter.Result{}, err
	}
	return cfg.RunAt(dst, f, size, nil)
}

// done is binarycache's Done.
func (w *cacheWork) done(r binarycache.Result) {
	w.t.progress.addItem()
	w.mu.Lock()
	f := w.found[r.StorePath]
	delete(w.found, r.StorePath)
	w.mu.Unlock()

	name := r.StorePath
	if name == "" {
		name = r.Info
	}
	for _, warning := range r.Warnings {
		w.t.warn("%s: %s", name, warning)
	}
	if r.Err != nil {
		w.total.Failed++
		var seal *filter.SignatureError
		if errors.As(r.Err, &seal) {
			w.unsealed = true
		} else {
			w.failed = true
		}
		err := r.Err
		if !strings.Contains(err.Error(), name) {
			err = fmt.Errorf("%s: %w", name, err)
		}
		w.t.fail(err)
		if w.list != nil {
			w.list.Fail(err)
		}
	} else if f != nil {
		w.tell(r, f)
	}
	if r.Status == binarycache.Changed {
		if _, err := fmt.Fprintln(w.out, r.NewStorePath); err != nil && w.outErr == nil {
			w.outErr = fmt.Errorf("output: %w", err)
		}
		w.t.inform("changed %s: %s by rules, %s repaired", name, count(f.result.Replacements(), "replacement", "replacements"),
			count(f.result.Repaired, "signature", "signatures"))
	}
	if w.rep != nil {
		w.rep.add(r, f)
	} else if f != nil {
		f.Release()
	}
}

// tell tells of the signatures of a path that was checked.
func (w *cacheWork) tell(r binarycache.Result, f *pathFound) {
	w.total.AddResult(&f.result)
	w.total.Sum(&f.tally)
	for _, s := range f.Signatures {
		if w.list != nil {
			w.list.Add(&report.Item{Input: w.name, StorePath: r.StorePath, Signature: s})
		}
	}
	if r.Status == binarycache.Finished {
		w.unsealed = w.unsealed || f.tally.Invalid > 0
		for _, s := range f.Signatures {
			if !s.Status.OK() {
				w.t.warnUnsealed(r.StorePath+s.Path.Short(), &s.Slice)
			}
		}
	}
	if w.list != nil && f.Omitted > 0 {
		w.list.Omit(f.Omitted)
	}
	if f.more > 0 {
		w.unsealed = true
		w.t.warn("%s: %s more", r.StorePath, report.Plural(f.more, "invalid signature", "invalid signatures"))
	}
	for _, s := range f.unsealed {
		w.unsealed = true
		w.left.Give(report.Memory(&s.Slice))
		w.t.warnUnsealed(r.StorePath+s.Path.Short(), &s.Slice)
	}
}

// summarize says in one line how a run went.
func summarize(s binarycache.Summary, dry bool) string {
	changed := "changed"
	if dry {
		changed = "would change"
	}
	text := fmt.Sprintf("%s %s, %d unchanged", count(int64(s.Paths[binarycache.Changed]), "path", "paths"), changed, s.Paths[binarycache.Unchanged])
	for _, more := range []struct {
		n    int
		what string
	}{{s.Paths[binarycache.Finished], "finished before"}, {s.Paths[binarycache.Failed], "failed"}} {
		if more.n > 0 {
			text += fmt.Sprintf(", %d %s", more.n, more.what)
		}
	}
	if s.Pruned > 0 {
		text += fmt.Sprintf(", %s deleted", count(int64(s.Pruned), "object", "objects"))
	}
	return text
}
