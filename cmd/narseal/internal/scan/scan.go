// Package scan verifies images in files on disk, alone or in directories.
package scan

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"

	"narseal/macho"
	"narseal/macho/bundle"
	"narseal/nar"
)

// A Scanner examines the signatures of files, many at the same time. One goroutine reports the results, in the order of
// the walk. Files are read piece by piece.
type Scanner struct {
	Jobs int
	// Examine returns the report of a signed image. Several goroutines call it at the same time. It may return both a
	// report and an error.
	Examine func(f *File, cfg macho.Config) (*macho.Report, error)
	// ReadOnly says that Examine changes no files, so that it need not be called for each name of a file with several
	// names.
	ReadOnly bool
	// Unsigned also reports slices that need a signature in images without any signature.
	Unsigned bool
	// Found is called for each name.
	Found func(*Result)
	// Slice is called for each slice: immediately, or, if it seals files of its bundle, at the end of the bundle's
	// directory.
	Slice func(path nar.Path, s macho.Slice)
	// Fail is called with the error of each file or directory that could not be read.
	Fail func(error)
	// Entered, if not nil, is called before the Scanner waits for the result of a name.
	Entered func(*Entry)
	// Opened, if not nil, is called for each directory before anything in it is examined. It is called by another
	// goroutine than the functions above.
	Opened func(*Dir)
	// Skip, if not nil, reports whether to leave out a name in a directory. The goroutine that calls Opened calls it.
	Skip func(*Entry) bool

	// Reseal, if not nil, makes the Scanner repair the seals of bundles. Member returns the contents of a file of a
	// bundle that may have to change. Settled is called after complete bundles were changed; holds says that bundles
	// around them may still change.
	Reseal  *bundle.Reseal
	Member  func(*Result) macho.Image
	Settled func(holds bool)
	// Bundles, if not nil, limits the memory for the bundles of all Scanners that share it.
	Bundles *bundle.Pool

	bundles  bundle.Checker
	scope    bundle.Scope // of the walk
	pool     pool
	sparse   sparsePool
	relinked relinkedPool
	links    links
}

// Result is what a Scanner found out about a name.
type Result struct {
	Entry
	Size   int64         // of a file
	Mode   uint32        // of a file, as stat has it
	Inode  unix.Stat_t   // of a hashed file, at that time
	Report *macho.Report // nil if it is not a signed image

	unsigned []macho.Slice      // slices that need a signature, of an image without any
	inBundle bool               // the Scope says that it is in a bundle
	again    bool               // a directory that was already reported, and turned out to be a bundle
	late     bool               // it is hashed only when its turn comes
	digest   *bundle.FileDigest // of a file that a bundle may seal
	err      error
	done     chan struct{}
}

const (
	// largeFile is the minimum size in bytes of a file that all processors hash together. A smaller file takes one of
	// them a few milliseconds.
	largeFile = 16 << 20
	// maxAhead is the maximum number of names by which the walk may be ahead of the reports.
	maxAhead = 128
)

// Run scans a file, or a directory and everything below it.
func (s *Scanner) Run(ctx context.Context, root string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.scope = bundle.Scope{}
	s.bundles.CheckResources, s.bundles.RootName = true, rootName(root)
	s.bundles.Reseal, s.bundles.Pool = s.Reseal, s.Bundles
	defer s.bundles.Release()
	s.bundles.Script = func(path string, slice macho.Slice) { s.Slice(shownPath(root, path), slice) }
	order := make(chan *Result, maxAhead)
	todo := make(chan *Result, maxAhead)
	slots := semaphore.NewWeighted(int64(s.Jobs))
	var workers sync.WaitGroup
	for range s.Jobs {
		workers.Go(func() {
			buf := make([]byte, loadCommands)
			for r := range todo {
				r.err = s.look(ctx, r, slots, buf)
				close(r.done)
			}
		})
	}
	go func() {
		defer close(order)
		put := func(r *Result) error {
			r.done = make(chan struct{})
			if r.isError() || !r.Type.IsRegular() {
				close(r.done)
			}
			select {
			case order <- r:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		each := func(e *Entry) error {
			r := &Result{Entry: *e, inBundle: s.scope.Enter(e.Depth(), []byte(e.base()), e.Type.IsDir())}
			err := put(r)
			if err == nil && e.Type.IsRegular() {
				todo <- r // does not block: todo has as much capacity as order
			}
			return err
		}
		signed := func(e *Entry) error {
			if !s.scope.EnterSigned(e.Depth()) {
				return nil
			}
			return put(&Result{Entry: *e, inBundle: true, again: true})
		}
		w := &walker{pool: &s.pool, each: each, signed: signed, failed: func(err error) { _ = put(&Result{err: err}) }, opened: s.Opened, skip: s.Skip, wait: func() {
			close(todo)
			workers.Wait()
		}}
		if w.opened == nil {
			w.opened = func(*Dir) {}
		}
		_ = w.walk(root)
	}()
	for r := range order {
		if r.again {
			s.bundles.AddItem(r.Depth(), r.item())
			continue
		}
		if s.Entered != nil && !r.isError() {
			s.Entered(&r.Entry)
		}
		<-r.done
		s.report(r)
	}
	if ctx.Err() != nil {
		s.bundles.Reseal = nil // the results are incomplete
	}
	s.reach(0)
	s.pool.close()
	return ctx.Err()
}

// isError reports whether a result is the error of a directory or input that could not be read.
func (r *Result) isError() bool { return r.Entry == Entry{} }

// inner is the text of Inner.
func (r *Result) inner() string { return r.Inner().String() }

// look opens and examines a file.
func (s *Scanner) look(ctx context.Context, r *Result, slots *semaphore.Weighted, buf []byte) error {
	f, err := r.Open()
	if err != nil {
		return err
	}
	defer f.Close()
	r.Size, r.Mode = f.Size(), uint32(f.Inode.Mode)
	signed, prefix, err := f.probe(buf)
	if err != nil {
		return err
	}
	if !signed && r.isSealed() {
		if err := s.hash(r, f); err != nil {
			return err
		}
	}
	if !signed {
		if s.Unsigned && prefix != nil {
			r.unsigned = macho.UnsignedSlices(prefix, f.Size())
		}
		return nil
	}
	if err := s.examine(ctx, r, f, slots); err != nil || !r.isSealed() {
		return err
	}
	// Examine may have replaced the file with a repaired one.
	now, err := r.Open()
	if err != nil {
		return err
	}
	defer now.Close()
	if r.Report != nil && r.inBundle {
		if err := r.Report.Identify(now); err != nil {
			return now.Wrap(err)
		}
	}
	return s.hash(r, now)
}

// examine sets the report of a signed image.
func (s *Scanner) examine(ctx context.Context, r *Result, f *File, slots *semaphore.Weighted) (err error) {
	if known := s.links.find(f).report; known != nil && s.ReadOnly {
		r.Report = cloneReport(known)
		return nil
	}
	if err := s.sparse.check(f); err != nil {
		return err
	}
	cfg := macho.Config{Jobs: 1}
	if f.Size() >= largeFile {
		cfg.Jobs = s.Jobs
	}
	if err := slots.Acquire(ctx, int64(cfg.Jobs)); err != nil {
		return err
	}
	defer slots.Release(int64(cfg.Jobs))
	if r.Report, err = s.Examine(f, cfg); err == nil && s.ReadOnly {
		s.links.note(f, r.Report, nil)
	}
	return err
}

// report calls the functions for a result.
func (s *Scanner) report(r *Result) {
	if r.late {
		r.err = errors.Join(r.err, s.hashLate(r))
	}
	if r.err != nil {
		s.Fail(r.err)
	}
	if r.isError() {
		return
	}
	if s.Found != nil {
		s.Found(r)
	}
	s.reach(r.Depth())
	s.give(r)
	if r.digest != nil && bundle.IsSealedFile(r.Name) {
		s.bundles.AddFile(r.Depth(), r.inner, r.digest)
	}
	path := r.Path()
	for _, slice := range r.unsigned {
		s.Slice(path, slice)
	}
	if r.Report != nil {
		for _, slice := range r.Report.Slices {
			s.bundles.AddSlice(r.Depth(), r.inner, slice, func(slice macho.Slice) { s.Slice(path, slice) })
		}
	}
	if r.inBundle {
		s.bundles.AddItem(r.Depth(), r.item())
	}
}
