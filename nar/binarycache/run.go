package binarycache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
)

// A run is one call of Verify or Rewrite.
type run struct {
	Options
	in       Store
	out      Store // where to write: in itself, if in place; nil in Verify
	inPlace  bool
	cache    *cacheInfo
	journal  *journal
	taken    map[string]bool // names of narinfos that two paths want to have
	mu       sync.Mutex      // for summary and Done
	summary  Summary
	canceled context.CancelCauseFunc
}

// A task is one narinfo to work on.
type task struct {
	name string // of the narinfo
	out  string // the name that it gets
}

// outputError is of the cache that is written to. No other path would fare better,
// so it ends the run.
type outputError struct{ err error }

func (e *outputError) Error() string { return "write: " + e.err.Error() }
func (e *outputError) Unwrap() error { return e.err }

func asOutput(err error) error {
	if err == nil {
		return nil
	}
	return &outputError{err}
}

// Verify reads every NAR of a cache, checks it against its narinfo and has Filter
// look at it, with [io.Discard] to write to. It changes nothing.
//
// A path that fails is in its Result and does not stop the others; the error is of
// the run as a whole.
func Verify(ctx context.Context, s Store, o Options) (Summary, error) {
	r := &run{Options: o, in: s, journal: newJournal()}
	return r.run(ctx, r.verify)
}

// Rewrite passes every NAR of a cache through Filter. What comes out different
// gets a new NAR, and then a narinfo that names it: the sizes and hashes are the new
// ones; Rename is applied to StorePath, References (sorted again) and Deriver;
// signatures of what the narinfo no longer states are dropped, as is CA of other
// contents; every secret key signs. Everything else in it stays. A path of which
// nothing changes keeps its files as they are; if there is an Output, they are
// copied.
//
// A store path that is renamed gets a narinfo of another name. The old one stays,
// unless Prune is set. It takes no other path's place: if the cache has one of the
// new name with other contents, that is an ErrConflict.
//
// A path that fails is in its Result, stays as it was and does not stop the others.
// The error is of the run as a whole: of listing the cache, or of writing to it.
// After a run that was cut short, or in which paths failed, the next one of the same
// Work skips what is finished. See also Options.Once.
func Rewrite(ctx context.Context, s Store, o Options) (sum Summary, err error) {
	r := &run{Options: o, in: s, out: o.Output, journal: newJournal()}
	if r.out == nil {
		r.out, r.inPlace = s, true
	} else if o.Prune {
		return sum, errors.New("prune: works in place only")
	}
	if o.DryRun {
		return r.run(ctx, r.rewrite)
	}
	if x, ok := r.out.(exclusive); ok {
		folder, release, err := x.Exclusive()
		if err != nil {
			return sum, err
		}
		defer func() { err = errors.Join(err, release()) }()
		if o.Work != "" {
			if r.journal, err = openJournal(folder, o.Work); err != nil {
				return sum, err
			}
		}
	}
	defer func() {
		err = errors.Join(err, r.journal.close(err == nil && sum.Paths[Failed] == 0, r.inPlace && o.Once))
	}()
	if sum, err = r.run(ctx, r.rewrite); err == nil && o.Prune {
		err = r.prune(ctx)
	}
	return r.summary, err
}

// run works on all paths.
func (r *run) run(ctx context.Context, work func(context.Context, task, *Result) error) (Summary, error) {
	r.summary.Paths = map[Status]int{}
	ctx, r.canceled = context.WithCancelCause(ctx)
	defer r.canceled(nil)
	if err := r.readCacheInfo(ctx); err != nil {
		return r.summary, err
	}
	tasks, err := r.plan(ctx)
	if err != nil {
		return r.summary, err
	}
	queue := make(chan task)
	var workers sync.WaitGroup
	for range max(1, min(r.Jobs, len(tasks))) {
		workers.Go(func() {
			for t := range queue {
				r.do(ctx, t, work)
			}
		})
	}
	for _, t := range tasks {
		select {
		case queue <- t:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(queue)
	workers.Wait()
	return r.summary, context.Cause(ctx)
}

// do works on one path and reports it.
func (r *run) do(ctx context.Context, t task, work func(context.Context, task, *Result) error) {
	res := Result{Info: t.name}
	err := work(ctx, t, &res)
	if err != nil {
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return // cut short: neither done nor failed
		}
		var oe *outputError
		if errors.As(err, &oe) {
			r.canceled(err)
		}
		res.Status, res.Err = Failed, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.summary.Paths[res.Status]++
	if r.Done != nil {
		r.Done(res)
	}
}

// readCacheInfo reads nix-cache-info, and writes it to another Output.
func (r *run) readCacheInfo(ctx context.Context) error {
	var err error
	if r.cache, err = loadCacheInfo(ctx, r.in); err != nil {
		return err
	}
	if r.out == nil || r.inPlace {
		return nil
	}
	there, err := loadCacheInfo(ctx, r.out)
	switch {
	case err == nil && there.storeDir != r.cache.storeDir:
		return fmt.Errorf("%s: the output is a cache of %s, the input of %s", cacheInfoName, there.storeDir, r.cache.storeDir)
	case err == nil, r.DryRun:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return r.put(ctx, cacheInfoName, r.cache.text)
}

func loadCacheInfo(ctx context.Context, s Store) (*cacheInfo, error) {
	b, err := load(ctx, s, cacheInfoName, maxInfo)
	if err != nil {
		return nil, fmt.Errorf("not a binary cache: %w", err)
	}
	c, err := parseCacheInfo(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cacheInfoName, err)
	}
	return c, nil
}

// load reads a small object.
func load(ctx context.Context, s Store, name string, limit int64) ([]byte, error) {
	f, err := s.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := readAll(f, limit)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return b, nil
}

// put writes a small object.
func (r *run) put(ctx context.Context, name string, b []byte) error {
	p, err := r.out.Create(ctx)
	if err != nil {
		return asOutput(err)
	}
	defer p.Abort()
	if _, err := p.Write(b); err != nil {
		return asOutput(err)
	}
	return asOutput(p.Commit(name))
}

// plan lists the work, in the order of the names.
func (r *run) plan(ctx context.Context) ([]task, error) {
	var tasks []task
	missing := map[string]bool{}
	for h := range r.Hashes {
		missing[h+infoSuffix] = true
	}
	for o, err := range r.in.List(ctx, "") {
		if err != nil {
			return nil, err
		}
		delete(missing, o.Name)
		if !isInfoName(o.Name) ||
			r.Hashes != nil && !r.Hashes[strings.TrimSuffix(o.Name, infoSuffix)] ||
			!r.Since.IsZero() && !o.ModTime.After(r.Since) {
			continue
		}
		tasks = append(tasks, task{name: o.Name})
	}
	for name := range missing { // which fails when its turn comes
		tasks = append(tasks, task{name: name})
	}
	slices.SortFunc(tasks, func(a, b task) int { return strings.Compare(a.name, b.name) })

	var bytes int64
	owners := map[string]int{}
	r.taken = map[string]bool{}
	for i := range tasks {
		t := &tasks[i]
		t.out = t.name
		b, err := load(ctx, r.in, t.name, maxInfo)
		if err != nil {
			continue
		}
		n, err := parseInfo(b, r.cache.storeDir)
		if err != nil {
			continue
		}
		bytes += int64(n.NarSize)
		if r.out != nil {
			t.out = infoName(r.rename(n.base))
		}
		if t.out == t.name && r.inPlace {
			continue // it is there already: who takes its place will see
		}
		if owners[t.out]++; owners[t.out] > 1 {
			r.taken[t.out] = true
		}
	}
	if r.Planned != nil {
		r.Planned(len(tasks), bytes)
	}
	return tasks, nil
}

// rename applies the rules to a base name, or to a text of them.
func (r *run) rename(s string) string {
	if r.Rename == nil {
		return s
	}
	return r.Rename(s)
}
