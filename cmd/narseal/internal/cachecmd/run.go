package cachecmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"narseal/cmd/narseal/internal/command"
	"narseal/cmd/narseal/internal/ledger"
	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/cmd/narseal/internal/worklist"
	"narseal/filter"
	"narseal/macho/bundle"
	"narseal/nar"
	"narseal/nar/binarycache"
	"narseal/nar/binarycache/narinfo"
	"narseal/nar/compression"
)

// run is one call of a command.
type run struct {
	*command.Env
	cfg    filter.Config // each path uses a copy
	write  bool
	name   string      // of the cache, as the user gives it
	out    io.Writer   // for the names of changed paths
	list   report.List // only of cache verify; else nil
	file   *command.ReportFile
	rep    *cacheReport
	budget *report.Budget // for what is remembered of the paths
	total  report.Tally

	// unsigned says how a slice counts that needs a signature but has none. missing is the number of such slices.
	unsigned report.Unsigned
	missing  int64
	absent   int64 // paths of a list that the cache does not have

	memory *semaphore.Weighted // of codecs and images, for all paths together

	ledger *ledger.Ledger // nil: none
	meters *meters        // nil: none
	read   atomic.Int64   // bytes of NARs
	age    age            // of the input

	members *worklist.Members // of a closure; nil without one
	access  *access           // to the cache; nil if it is listed
	stop    func(error)       // ends the run

	invalid bool // a path with an invalid signature was passed on or refused
	failed  bool
	outErr  error

	rules   *ruleCounts  // nil without rules
	writes  writes       // to the cache that is changed
	changed atomic.Int64 // paths

	mu    sync.Mutex
	found map[string]*pathFound // by store path, until the path is reported
}

// newRun begins a run of a command on a cache, and opens its report.
func newRun(e *command.Env, o *Options, cache, name string, m *meters) (*run, error) {
	file, err := e.OpenReport(o.Report)
	if err != nil {
		return nil, err
	}
	r := &run{
		Env: e, name: cache, meters: m, file: file, rep: &cacheReport{command: name, cache: cache},
		budget: report.NewBudget(report.DefaultBudget), found: map[string]*pathFound{},
	}
	r.memory = o.Memory()
	r.cfg.Spill, r.cfg.Bundles = o.Spill(e, r.memory), bundle.NewPool(o.BundleMemory())
	r.rep.paths.open = r.cfg.Spill.Open
	r.rep.shard = o.Shard.String()
	r.rep.age = &r.age
	m.of(r)
	r.cfg.Signatures.Jobs = max(1, runtime.GOMAXPROCS(0)/o.Jobs)
	return r, nil
}

// run calls work, shows its progress and writes the report. When a signal stops the program, run gives work some time
// to remove partial output. in is the cache that work reads.
func (r *run) run(ctx context.Context, o *binarycache.Options, in binarycache.Store, work func(context.Context) (binarycache.Summary, error)) (binarycache.Summary, error) {
	p := r.Terminal.Progress()
	p.BeginItems(1, 1) // until Planned is called
	o.Planned = func(paths int, bytes int64) {
		p.SetTotals(int64(paths), bytes)
		r.meters.plan(paths, bytes)
	}
	o.Read = func(n int) {
		p.Add(int64(n))
		r.read.Add(int64(n))
	}
	o.Written = func(n int) { p.Add(int64(n)) }
	o.Memory, o.MemorySize = r.memory, r.cfg.Spill.Limit()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	r.stop = stop
	ended := make(chan struct{})
	release, err := r.Cleanup.Hold(func() (func(), error) {
		return func() { r.end(ended) }, nil
	})
	if err != nil {
		return binarycache.Summary{}, err
	}
	sum, err := work(ctx)
	if err == nil && r.access != nil {
		err = r.access.check(ctx, in)
	}
	if err == nil {
		err = r.checkClosure()
	}
	err = errors.Join(err, r.ledger.Close())
	close(ended)
	err = errors.Join(err, r.outErr, release(func() error { return nil }))
	r.rep.end(sum, err)
	return sum, errors.Join(err, r.file.Write(r.rep.write))
}

// outcome returns the error that the command ends with. Failed paths outweigh invalid signatures.
func (r *run) outcome(o *Options, invalid bool) error {
	if r.absent > 0 {
		text := ""
		if r.access.any() {
			text = "; it refused access to some, which may be there all the same"
		}
		r.Terminal.Warnf("the cache does not have %s of --paths; --verbose lists them%s", report.Plural(r.absent, "path", "paths"), text)
	}
	if len(r.rep.summary.Paths) == 0 && o.whole() {
		r.Terminal.Warnf("%s has no paths: there is no narinfo in it", r.name)
	}
	if at := r.age.of(); !at.IsZero() {
		r.Terminal.Infof("the input was last changed at %s", at.UTC().Format(time.RFC3339))
	}
	if err := r.age.check(o.MaxAge, time.Now()); err != nil {
		r.failed = true
		r.Terminal.Error(err)
	}
	switch {
	case r.failed:
		return command.ErrFailed
	case invalid:
		return command.ErrInvalid
	}
	return nil
}

// pathFound holds what the filter found in a path. It is reported when the path is finished, because only then is the
// NAR known to match its narinfo.
type pathFound struct {
	*report.Archive
	tally   report.Tally // of all slices, whether the archive lists them or not
	invalid []filter.Signature
	more    int64         // invalid signatures of the output that the budget kept out of invalid
	result  filter.Result // without Counts
	// replacements is the number of replacements by all rules.
	replacements int64
}

// record makes cfg record what its next run finds, up to the budget, and count all of it.
func (f *pathFound) record(cfg *filter.Config, unsigned report.Unsigned, b *report.Budget, mend report.Repair) {
	f.Record(cfg)
	list := cfg.Observer.Signature
	cfg.Observer.Signature = func(s filter.Signature) {
		unsigned.Apply(&s.Slice)
		f.tally.AddSlice(&s.Slice)
		if !s.OK() {
			f.tally.Mend.Add(report.MendStatus(&s.Slice), 1, mend)
		}
		list(s)
	}
	cfg.Observer.Invalid = func(s filter.Signature) {
		if !b.Take(report.Memory(&s.Slice)) {
			f.more++
			return
		}
		f.invalid = append(f.invalid, s)
	}
}

// inspect implements Inspect of binarycache.VerifyOptions.
func (r *run) inspect(ctx context.Context, p *binarycache.Path, src io.Reader) error {
	return r.filter(ctx, p, nil, src)
}

// filter implements Filter of binarycache.RewriteOptions.
func (r *run) filter(_ context.Context, p *binarycache.Path, dst io.Writer, src io.Reader) error {
	r.Terminal.Progress().At(&p.StorePath)
	cfg := r.cfg
	f := &pathFound{Archive: report.NewArchive(r.budget)}
	f.StorePath = p.StorePath
	f.record(&cfg, r.unsigned, r.budget, report.Repair{Command: "narseal cache repair", Operand: r.name})
	cfg.Signatures.Verify = r.cfg.Signatures.Verify || r.file != nil && !p.Again
	write := r.write && !p.Finished
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
	if err == nil {
		r.budget.Entry(p.NarSize) // exactly this much was read, or the path fails
	}
	f.Count(cfg.Rules, &f.result, false)
	if !p.Again {
		r.mu.Lock()
		r.found[p.StorePath] = f
		r.rules.matched(f.result.Counts)
		r.mu.Unlock()
	}
	f.replacements, f.result.Counts = f.result.Replacements(), nil // it has a number for each rule, and many paths may wait
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

// done implements Done of binarycache.Options.
func (r *run) done(res binarycache.Result) {
	r.Terminal.Progress().AddItem()
	r.mu.Lock()
	f := r.found[res.StorePath]
	delete(r.found, res.StorePath)
	if f != nil {
		r.rules.renamed(&res)
	}
	r.age.see(res.Modified)
	r.meters.measure(&res, f)
	r.mu.Unlock()
	r.record(res, f)
	if h, err := worklist.ParseHash(hashPartOf(res.Info)); err == nil {
		if res.Status == binarycache.Excluded { // its narinfo was not checked
			r.members.LeaveOut(h)
		} else {
			r.members.Settle(h)
		}
	}

	name := cmp.Or(res.StorePath, res.Info)
	if res.Status == binarycache.Skipped {
		r.total.Skipped++
	}
	if res.Status == binarycache.Missing {
		r.absent++
		r.Terminal.Infof("%s: the cache does not have it", hashPartOf(res.Info))
	}
	for _, warning := range res.Warnings {
		r.Terminal.Warnf("%s: %s", name, warning)
	}
	if res.Err != nil {
		r.fail(name, res.Err)
	} else if f != nil {
		r.add(res, f)
	}
	if res.Status == binarycache.Changed {
		r.changed.Add(1)
		if _, err := fmt.Fprintln(r.out, res.NewStorePath); err != nil && r.outErr == nil {
			r.outErr = fmt.Errorf("output: %w", err)
		}
		var replaced, repaired int64
		if f != nil {
			replaced, repaired = f.replacements, f.result.Repaired
		}
		r.Terminal.Infof("changed %s: %s by rules, %s repaired", name, report.Plural(replaced, "replacement", "replacements"),
			report.Plural(repaired, "signature", "signatures"))
	}
	if r.file != nil {
		r.rep.add(res, f)
	} else if f != nil {
		f.Release()
	}
}

// fail reports a path that failed.
func (r *run) fail(name string, err error) {
	r.total.Failed++
	var signature *filter.SignatureError
	if errors.As(err, &signature) {
		r.invalid = true
	} else {
		r.failed = true
	}
	if !strings.Contains(err.Error(), name) {
		err = fmt.Errorf("%s: %w", name, err)
	}
	if errors.Is(err, compression.ErrMemory) {
		err = terminal.Hint(err, "a larger --hold-memory")
	}
	r.Terminal.Error(err)
	if r.list != nil {
		r.list.Fail(err)
	}
}

// add counts and reports the signatures of a path that was checked.
func (r *run) add(res binarycache.Result, f *pathFound) {
	r.total.AddResult(&f.result)
	r.total.Sum(&f.tally)
	r.missing += f.result.Unsigned
	if r.list != nil {
		for _, s := range f.Signatures {
			r.list.Add(&report.Item{Input: r.name, StorePath: res.StorePath, Signature: s})
		}
		if f.Omitted > 0 {
			r.list.Omit(f.Omitted)
		}
	}
	if res.Status == binarycache.Finished {
		r.invalid = r.invalid || f.tally.Invalid > 0
		for _, s := range f.Signatures {
			if !s.Status.OK() {
				r.WarnInvalid(res.StorePath+s.Path.Short(), &s.Slice)
			}
		}
	}
	if f.more > 0 {
		r.invalid = true
		r.Terminal.Warnf("%s: %s more", res.StorePath, report.Plural(f.more, "invalid signature", "invalid signatures"))
	}
	for _, s := range f.invalid {
		r.invalid = true
		r.budget.Give(report.Memory(&s.Slice))
		r.WarnInvalid(res.StorePath+s.Path.Short(), &s.Slice)
	}
}

// hashPartOf returns the hash part in the name of a narinfo.
func hashPartOf(info string) string { return strings.TrimSuffix(info, narinfo.Suffix) }
