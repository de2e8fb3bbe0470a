package main

import (
	"context"
	"fmt"
	"io"
	"path"

	"golang.org/x/sync/semaphore"

	"narseal/filter"
	"narseal/macho"
	"narseal/macho/bundle"
)

// sweep looks at the signatures of loose files, many at a time, and tells of
// them in the order of the walk. It reads files piece by piece.
type sweep struct {
	jobs int
	// examine says what is to be reported of a signed image. It runs on
	// several goroutines at once. A report may come with an error.
	examine func(f *looseFile, cfg macho.Config) (*macho.Report, error)
	// What was found is told by one goroutine; a slice that seals files of
	// its bundle comes when the bundle's folder ends.
	slice func(filter.Signature)
	fail  func(error)
	tally *tally
	// looked, if not nil, is called for each name.
	looked   func(*looked)
	progress *progress

	bundles bundle.Checker
}

// looked is what a sweep found of a name.
type looked struct {
	found
	size   int64
	report *macho.Report      // nil where there is no signature
	digest *bundle.FileDigest // of what may be sealed by a bundle
	err    error
	done   chan struct{}
}

const (
	// largeFile is from where a file is hashed by all processors at once:
	// until then, one has it done in a few milliseconds.
	largeFile = 16 << 20
	// ahead is how many names the walk may be ahead of what was told.
	ahead = 128
)

// run sweeps a file, or a folder and all that lies in it.
func (s *sweep) run(ctx context.Context, root string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	order := make(chan *looked, ahead)
	todo := make(chan *looked, ahead)
	slots := semaphore.NewWeighted(int64(s.jobs))
	for range s.jobs {
		go func() {
			buf := make([]byte, loadCommands)
			for l := range todo {
				l.err = s.look(ctx, l, slots, buf)
				close(l.done)
			}
		}()
	}
	go func() {
		defer close(order)
		defer close(todo)
		put := func(l *looked) error {
			l.done = make(chan struct{})
			if l.entry == nil || !l.entry.Type().IsRegular() {
				close(l.done)
			}
			select {
			case order <- l:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		_ = walk(root, func(f found) error {
			l := &looked{found: f}
			err := put(l)
			if err == nil && f.entry.Type().IsRegular() {
				todo <- l // has room: never more than order holds
			}
			return err
		}, func(err error) { _ = put(&looked{err: err}) })
	}()
	for l := range order {
		s.progress.at(&l.path)
		<-l.done
		s.progress.add(l.size)
		s.tell(l)
	}
	s.bundles.Reach(0)
	return ctx.Err()
}

// look opens a file and examines it.
func (s *sweep) look(ctx context.Context, l *looked, slots *semaphore.Weighted, buf []byte) error {
	f, err := openLoose(l.real, l.path)
	if err != nil {
		return err
	}
	defer f.Close()
	l.size = f.Size()
	if bundle.IsSealedFile(path.Base(l.inner)) {
		l.digest = bundle.NewFileDigest()
		if _, err := io.Copy(l.digest, io.NewSectionReader(f, 0, f.Size())); err != nil {
			return fmt.Errorf("%s: %w", l.path, err)
		}
	}
	signed, err := f.probe(buf)
	if err != nil || !signed {
		return err
	}
	cfg := macho.Config{Jobs: 1}
	if f.Size() >= largeFile {
		cfg.Jobs = s.jobs
	}
	if err := slots.Acquire(ctx, int64(cfg.Jobs)); err != nil {
		return err
	}
	defer slots.Release(int64(cfg.Jobs))
	l.report, err = s.examine(f, cfg)
	return err
}

// tell passes on what was found.
func (s *sweep) tell(l *looked) {
	if l.err != nil {
		s.fail(l.err)
	}
	if l.entry == nil {
		return
	}
	if s.looked != nil {
		s.looked(l)
	}
	s.bundles.Reach(l.depth())
	s.tally.add(l)
	if l.digest != nil {
		s.bundles.AddFile(l.inner, l.digest)
	}
	if l.report == nil {
		return
	}
	for _, slice := range l.report.Slices {
		s.bundles.AddSlice(l.inner, slice, func(slice macho.Slice) {
			s.tally.count(&slice)
			s.slice(filter.Signature{Path: l.path, Slice: slice})
		})
	}
}
