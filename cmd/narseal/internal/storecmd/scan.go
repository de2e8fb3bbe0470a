package storecmd

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"

	"narseal/cmd/narseal/internal/command"
	"narseal/cmd/narseal/internal/nixcli"
	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/scan"
	"narseal/filter"
	"narseal/macho"
	"narseal/macho/bundle"
	"narseal/nar"
)

// run is one call of a command.
type run struct {
	*command.Env
	store    *nixcli.Store
	options  *Options
	file     *command.ReportFile
	rep      *storeReport
	budget   *report.Budget // for what is remembered of the paths
	locate   bool           // find the regions of invalid pages
	caseHack bool           // names on disk may have Nix's suffix
	jobs     int            // goroutines that scan a path
	bundles  *bundle.Pool
	// unsigned says how a slice counts that needs a signature but has none.
	unsigned report.Unsigned
	onFail   func(error) // called by fail, unless nil
	pauses   int32       // used up by settle
	total    report.Tally
}

// newRun begins a run, and opens its report.
func newRun(ctx context.Context, e *command.Env, o *Options, name string) (*run, error) {
	store, err := o.open(ctx)
	if err != nil {
		return nil, err
	}
	file, err := e.OpenReport(o.Report)
	if err != nil {
		return nil, err
	}
	return &run{
		bundles: bundle.NewPool(o.BundleMemory()),
		Env:     e, store: store, options: o, file: file, budget: report.NewBudget(report.DefaultBudget),
		caseHack: runtime.GOOS == "darwin", rep: &storeReport{command: name, storeDir: store.Dir, counts: map[string]int{}},
	}, nil
}

// pathFound holds the results for a path.
type pathFound struct {
	nixcli.Path
	status     string // see the constants
	signatures []filter.Signature
	omitted    int64 // signatures that did not fit into the budget
	taken      int
	missing    int64 // slices without a signature that need one
	tally      report.Tally
	errs       []error // at most maxErrors, and one that counts the rest
	more       int     // errors
	warnings   []string
	newHash    string // of a path that changed or would change
	kept       bool   // its staged files are kept for the next run
}

// Statuses of paths.
const (
	verified  = "verified"
	unchanged = "unchanged"
	changed   = "changed"
	failed    = "failed"
	gone      = "gone"     // deleted during the run
	finished  = "finished" // its repair was begun by an earlier run
)

// add adds a signature to a path, or counts it as omitted if it does not fit into the budget.
func (r *run) add(f *pathFound, s filter.Signature) {
	if s.Status.OK() && !s.OK() {
		f.missing++
	}
	r.unsigned.Apply(&s.Slice)
	f.tally.AddSlice(&s.Slice)
	if !s.OK() {
		f.tally.Mend.Add(report.MendStatus(&s.Slice), 1, report.Repair{Command: "narseal store repair", Operand: r.store.Path(f.Base)})
	}
	n := report.Memory(&s.Slice) + s.Path.Len()
	if !r.budget.Take(n) {
		f.omitted++
		return
	}
	f.taken += n
	f.signatures = append(f.signatures, s)
}

// maxErrors is the maximum number of errors that are kept for a path.
const maxErrors = 100

// fail keeps an error, or only counts it if there are too many.
func (f *pathFound) fail(err error) {
	if len(f.errs) < maxErrors {
		f.errs = append(f.errs, err)
	} else {
		f.more++
	}
}

// drop drops the signatures and returns their memory to b.
func (f *pathFound) drop(b *report.Budget) {
	b.Give(f.taken)
	f.signatures, f.omitted, f.taken, f.missing = nil, 0, 0, 0
}

// disappear drops everything that was found in a path that is no longer valid.
func (f *pathFound) disappear(b *report.Budget) {
	f.drop(b)
	f.status, f.errs, f.warnings, f.tally = gone, nil, nil, report.Tally{}
}

// each calls work for every path, on several goroutines, and then done with the results, in the order of the paths.
func (r *run) each(ctx context.Context, paths *nixcli.PathList, work func(context.Context, *nixcli.Path) *pathFound, done func(*pathFound) error) error {
	p := r.Terminal.Progress()
	p.BeginItems(int64(paths.Len()), max(paths.Bytes(), 1))
	r.jobs = max(1, r.options.Jobs/max(1, paths.Len()))

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	order := make(chan chan *pathFound, 4*r.options.Jobs) // early results wait here
	var workers errgroup.Group
	workers.SetLimit(r.options.Jobs)
	var unread error
	go func() {
		defer close(order)
		unread = paths.Each(func(path *nixcli.Path) error {
			found := make(chan *pathFound, 1)
			select {
			case order <- found:
			case <-ctx.Done():
				return ctx.Err()
			}
			workers.Go(func() error {
				found <- work(ctx, path)
				return nil
			})
			return nil
		})
	}()
	var first error
	for found := range order {
		f := <-found
		p.AddItem()
		if ctx.Err() != nil && f.status == failed {
			continue // because the run is stopped
		}
		if err := done(f); err != nil && first == nil {
			first = err
			cancel()
		}
	}
	_ = workers.Wait()
	if first == nil {
		first = unread
	}
	if first == nil {
		first = ctx.Err()
	}
	return first
}

// scan verifies the images of a path on disk, and compares its size with Nix's database. What looks incomplete is looked at
// again for a while: Nix may be removing or replacing it.
func (r *run) scan(ctx context.Context, p *nixcli.Path) *pathFound {
	for tries := 0; ; tries++ {
		f := r.look(ctx, p)
		if !r.settle(ctx, f, tries) {
			r.Terminal.Progress().Add(max(0, p.NarSize-f.tally.Size))
			return f
		}
		r.Terminal.Progress().Add(-f.tally.Size)
		f.drop(r.budget)
	}
}

func (r *run) look(ctx context.Context, p *nixcli.Path) *pathFound {
	real := r.store.Real(p.Base)
	shown := r.store.Path(p.Base)
	r.Terminal.Progress().At(&shown)
	f := &pathFound{Path: *p, status: verified}
	var size scan.ArchiveSize
	// A store path may be a symlink, usually to another store path, which is checked on its own.
	if target, err := os.Readlink(real); err == nil {
		f.tally.AddFile(fs.ModeSymlink, 0, nil)
		size = scan.SymlinkArchive(target)
	} else {
		r.lookInto(ctx, f, real, &size)
	}
	if f.more > 0 {
		f.errs = append(f.errs, fmt.Errorf("%s: %s", shown, report.Plural(int64(f.more), "more error", "more errors")))
	}
	if err := r.errIncomplete(p, size); err != nil && len(f.errs) == 0 {
		f.fail(err)
	}
	if len(f.errs) > 0 {
		f.status = failed
	}
	return f
}

// lookInto scans a file or a directory.
func (r *run) lookInto(ctx context.Context, f *pathFound, real string, size *scan.ArchiveSize) {
	progress := r.Terminal.Progress()
	s := &scan.Scanner{
		Jobs: r.jobs, Bundles: r.bundles,
		Examine: scan.Verifier(r.locate), ReadOnly: true, Unsigned: r.unsigned != report.UnsignedIgnore,
		Found: func(res *scan.Result) {
			f.tally.AddFile(res.Type, res.Size, res.Report)
			if err := size.Add(res); err != nil {
				f.fail(err)
			}
			progress.Add(res.Size)
		},
		Slice: func(path nar.Path, slice macho.Slice) {
			r.add(f, filter.Signature{Path: r.inner(path, real), Slice: slice})
		},
		Fail: f.fail,
	}
	if err := s.Run(ctx, real); err != nil {
		f.fail(err)
	}
}

// inner returns the path of a file in its store path, as in Nix's archive of it.
func (r *run) inner(path nar.Path, root string) nar.Path {
	text := strings.TrimPrefix(path.String(), root)
	if r.caseHack {
		text = scan.WithoutCaseHack(text)
	}
	if text == "" {
		text = "/"
	}
	return nar.NewPath(text)
}

// fail reports an error.
func (r *run) fail(err error) {
	r.total.Failed++
	r.Terminal.Error(err)
	if r.onFail != nil {
		r.onFail(err)
	}
}

// leaveOut reports an error because of which a path is not processed. If it is not known which one, p is empty.
func (r *run) leaveOut(p nixcli.Path, err error) {
	r.fail(err)
	r.rep.add(r, &pathFound{Path: p, status: failed, errs: []error{err}})
}

// outcome returns the error that the command ends with. Failures outweigh invalid signatures.
func (r *run) outcome() error {
	switch {
	case r.total.Failed > 0:
		return command.ErrFailed
	case r.total.Invalid > 0:
		return command.ErrInvalid
	}
	return nil
}

// missing returns the error of a valid path that does not exist on disk.
func missing(s *nixcli.Store, base string) error {
	return fmt.Errorf("%s: valid in Nix's database, but missing: nix-store --repair-path %[1]s", s.Path(base))
}
