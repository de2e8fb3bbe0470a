package binarycache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"

	"narseal/nar/binarycache/internal/budget"
	"narseal/nar/binarycache/internal/order"
	"narseal/nar/binarycache/internal/pick"
	"narseal/nar/binarycache/internal/repeats"
	"narseal/nar/binarycache/narinfo"
	"narseal/nar/binarycache/state"
	"narseal/nar/storepath"
)

// A run is one call of Verify or Rewrite.
type run struct {
	RewriteOptions
	inspect  func(context.Context, *Path, io.Reader) error // of Verify
	in       Store
	out      Store // where to write: the same as in, if in place; nil in Verify
	inPlace  bool
	cache    *cacheInfo
	work     func(context.Context, *task, *Result) error
	renamed  renamed
	order    *order.Order // nil if narinfos may be written in any order
	others   others
	mu       sync.Mutex // for summary, found, left, bytes and the callbacks
	summary  Summary
	found    int   // paths
	left     int   // those that have no result yet
	bytes    int64 // of the NARs whose narinfos were read
	canceled context.CancelCauseFunc
	memory   budget.Memory
	repeats  repeats.NARs
	changes  []state.Record // by this run, if needed to prune
}

// A task is one narinfo to work on.
type task struct {
	name string // of the narinfo
	*renamedInfo

	// For a reference that is worked on before its turn:
	ahead     int  // how many paths wait for this one in the same worker
	aheadText int  // bytes of their narinfos
	maybe     bool // it was not listed, and may be missing
}

// maxListed is how many listed names may wait for a worker.
const maxListed = 1 << 16

// outputError is an error from the output cache. It ends the run, since every path would fail.
type outputError struct{ err error }

func (e *outputError) Error() string { return "write: " + e.err.Error() }
func (e *outputError) Unwrap() error { return e.err }

// asOutput marks an error as one of the output cache, unless it affects only one object.
func asOutput(err error) error {
	if err == nil || errors.Is(err, ErrChanged) || errors.Is(err, ErrConflict) || errors.Is(err, fs.ErrInvalid) {
		return err
	}
	return &outputError{err}
}

// Verify reads every NAR of a cache, checks it against its narinfo and passes it to Inspect. It changes nothing.
//
// The listing of the store, the reading of narinfos and the work on NARs overlap, and memory does not grow with the
// number of paths. If a path fails, its Result says why, and the others continue; Verify returns an error only if the
// run as a whole fails.
func Verify(ctx context.Context, s Store, o VerifyOptions) (Summary, error) {
	r := &run{RewriteOptions: RewriteOptions{Options: o.Options}, inspect: o.Inspect, in: s}
	r.work = r.verify
	err := r.run(ctx)
	return r.summary, err
}

// run works on all paths: those that keep their names as they are found, the others once all are known.
func (r *run) run(ctx context.Context) error {
	r.summary.Paths = map[Status]int{}
	r.memory = budget.New(r.Memory, r.MemorySize)
	defer r.renamed.close()
	r.others.run = r
	defer r.others.nars.Text.Close()
	ctx, r.canceled = context.WithCancelCause(ctx)
	defer r.canceled(nil)
	if err := r.readCacheInfo(ctx); err != nil {
		return err
	}
	r.order = newOrder(r)
	defer r.order.Close()
	others, err := r.hasOthers(ctx)
	if err != nil {
		return err
	}
	names := make(chan task, maxListed)
	var listed error // the paths that were listed before are worked on
	go func() {
		defer close(names)
		listed = r.list(ctx, names)
	}()
	r.workers(ctx, names)
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if listed != nil { // another path may have the name that a renamed one would get
		if r.Hashes != nil {
			r.finishParked(ctx, r.order.Rest())
		}
		return cmp.Or(context.Cause(ctx), listed)
	}
	later := make(chan task)
	go func() {
		defer close(later)
		for t := range r.renamed.tasks() {
			select {
			case later <- t:
			case <-ctx.Done():
				return
			}
		}
	}()
	r.workers(ctx, later)
	if err := context.Cause(ctx); err != nil {
		return err
	}
	r.finishParked(ctx, r.order.Rest())
	if r.Planned != nil {
		r.Planned(r.found, r.bytes)
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if r.left != 0 {
		return fmt.Errorf("%d paths were found, and %d have a result: this is an error in narseal", r.found, r.found-r.left)
	}
	if !others {
		return nil
	}
	return r.others.finish(ctx)
}

// workers works on tasks until there are no more.
func (r *run) workers(ctx context.Context, tasks <-chan task) {
	var workers sync.WaitGroup
	for range max(1, r.Jobs) {
		workers.Go(func() {
			for t := range tasks {
				if ctx.Err() == nil {
					r.begin(ctx, t)
				}
			}
		})
	}
	workers.Wait()
}

// list finds the narinfos to work on.
func (r *run) list(ctx context.Context, names chan<- task) error {
	send := func(name string) error {
		if !r.order.List(name) {
			return nil
		}
		r.plan(1, 0)
		select {
		case names <- task{name: name}:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if r.Hashes != nil {
		hashes := r.Hashes
		if !r.Since.IsZero() {
			hashes = pick.From(hashes, r.Jobs, func(hash string) bool { return storepath.CheckHash(hash) != nil || !r.isOld(ctx, hash+narinfo.Suffix) })
		}
		for hash, err := range hashes {
			if err == nil {
				err = storepath.CheckHash(hash)
			}
			if err != nil {
				return err
			}
			if err := send(hash + narinfo.Suffix); err != nil {
				return err
			}
		}
		return nil
	}
	for o, err := range r.in.List(ctx, "") {
		if err != nil {
			return err
		}
		if !r.selected(o.Name) || !r.Since.IsZero() && !o.ModTime.After(r.Since) {
			continue
		}
		if err := send(o.Name); err != nil {
			return err
		}
	}
	return nil
}

// isOld reports whether a narinfo has not changed after Since. An error is reported when the path is worked on.
func (r *run) isOld(ctx context.Context, name string) bool {
	o, err := r.in.Stat(ctx, name)
	return err == nil && !o.ModTime.After(r.Since)
}

// plan adds to the announced work.
func (r *run) plan(paths int, bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.found, r.left = r.found+paths, r.left+paths
	r.bytes += bytes
	if r.Planned != nil {
		r.Planned(r.found, r.bytes)
	}
}

// begin works on a path, unless another worker has begun.
func (r *run) begin(ctx context.Context, t task) {
	if t.renamedInfo == nil && r.order != nil {
		if ok, _ := r.order.Begin(order.KeyOf(t.name)); !ok {
			return
		}
	}
	r.do(ctx, t)
}

// do works on one path and reports it.
func (r *run) do(ctx context.Context, t task) {
	res := Result{Info: t.name}
	var err error
	if r.Exclude != nil && r.Exclude(strings.TrimSuffix(t.name, narinfo.Suffix)) {
		res.Status = Excluded
	} else {
		err = r.work(ctx, &t, &res)
	}
	if t.maybe && (res.Status == Excluded || res.StorePath == "" && errors.Is(err, fs.ErrNotExist)) {
		ready, ok := r.order.Leave(order.KeyOf(t.name))
		if r.finishParked(ctx, ready); !ok {
			t.maybe = false
			r.plan(1, 0)
			r.do(ctx, t)
		}
		return
	}
	if t.maybe {
		r.plan(1, 0)
	}
	r.finishParked(ctx, r.finish(ctx, &t, &res, err))
}

// finish reports a path whose work returned err, and returns the paths that waited for it.
func (r *run) finish(ctx context.Context, t *task, res *Result, err error) (ready []*order.Parked) {
	switch {
	case err == errLater || err == errParked:
		return nil
	case err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return nil // interrupted: neither done nor failed
	}
	now := order.Settled
	if err == errMissing {
		res.Status, err = Missing, nil
	}
	if err != nil {
		var oe *outputError
		if errors.As(err, &oe) {
			r.canceled(err)
		}
		res.Status, res.Err, now = Failed, err, order.Failed
	}
	r.report(res)
	if ctx.Err() != nil || r.order == nil {
		return nil // the run ends, or no path waits
	}
	return r.order.Settle(order.KeyOf(t.name), now)
}

func (r *run) report(res *Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.summary.Paths[res.Status]++
	r.left--
	if r.Done != nil {
		r.Done(*res)
	}
}

// finishParked finishes parked paths that no longer have to wait.
func (r *run) finishParked(ctx context.Context, ready []*order.Parked) {
	for len(ready) > 0 && ctx.Err() == nil {
		p := ready[len(ready)-1]
		ready = ready[:len(ready)-1]
		var res Result
		t, err := r.unpark(ctx, p, &res)
		ready = append(ready, r.finish(ctx, &t, &res, err)...)
	}
}

func (r *run) verify(ctx context.Context, t *task, res *Result) error {
	b, _, _, err := r.load(ctx, t.name, res)
	if err != nil {
		return err
	}
	n, err := r.parseInfo(t.name, b, res)
	if err != nil {
		return err
	}
	if r.excludes(n, res) {
		return nil
	}
	if skip, err := r.skip(ctx, n, res); err != nil || skip {
		return err
	}
	r.plan(0, n.NarSize)
	if err := r.checkTrust(n); err != nil {
		return err
	}
	res.Status, res.NarHash = Verified, narinfo.HashText(n.NarHash)
	return r.inspectNAR(ctx, r.in, n, r.Read, func(nar io.Reader) error {
		if r.inspect == nil {
			return nil
		}
		return r.inspect(ctx, pathOf(n), nar)
	})
}

// inspectNAR passes the NAR of n in store to inspect, reads it to its end, and checks it against n. It calls read with
// the number of bytes.
func (r *run) inspectNAR(ctx context.Context, store Store, n *narinfo.Info, read func(int), inspect func(nar io.Reader) error) error {
	f, err := r.openFile(ctx, store, n, false, nil)
	if err != nil {
		return err
	}
	defer f.Close()
	c, err := f.check(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	c.progress = read
	return c.finish(inspect(c))
}

// pathOf describes a narinfo to a filter.
func pathOf(n *narinfo.Info) *Path {
	return &Path{StorePath: n.StorePath, NarSize: n.NarSize, Compression: n.Compression}
}

// parseInfo parses a narinfo and records its store path in res.
func (r *run) parseInfo(name string, b []byte, res *Result) (*narinfo.Info, error) {
	n, err := narinfo.ParseNamed(name, b, r.cache.StoreDir)
	if err != nil {
		return nil, err
	}
	res.StorePath = n.StorePath
	return n, nil
}

// excludes reports whether a path is excluded, and records that in res.
func (r *run) excludes(n *narinfo.Info, res *Result) bool {
	if r.Exclude == nil || !r.Exclude(n.Base) {
		return false
	}
	res.Status = Excluded
	return true
}

// checkTrust returns an error if no trusted key has signed the narinfo.
func (r *run) checkTrust(n *narinfo.Info) error {
	if len(r.TrustedKeys) == 0 || n.SignedBy(r.TrustedKeys) {
		return nil
	}
	return fmt.Errorf("%s: %w", n.StorePath, ErrUntrusted)
}
