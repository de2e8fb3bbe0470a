package main

import (
	"context"
	"fmt"
	"io"
	"path"

	"golang.org/x/sync/semaphore"

	"narseal/macho"
)

// sweep looks at the signatures of loose files, many at a time, and tells of
// them in the order of the walk. It reads files piece by piece.
type sweep struct {
	jobs int
	// examine says what is to be done with a signed image; its result becomes
	// looked.report. It runs on several goroutines at once.
	examine func(f *looseFile, cfg macho.Config) (*macho.Report, error)
}

// looked is what a sweep found of a name.
type looked struct {
	found
	report *macho.Report // nil where there is no signature
	digest *macho.FileDigest
	err    error
	done   chan struct{}
}

const (
	// largeFile is from where a file is hashed by all processors at once:
	// until then, one has it done in a few milliseconds.
	largeFile = 16 << 20
	// maxBundleFile bounds what is read of a file that is none of a bundle's.
	maxBundleFile = 256 << 20
	// ahead is how many names the walk may be ahead of what was told.
	ahead = 128
)

// run walks root and tells each of every name, by one goroutine.
func (s *sweep) run(ctx context.Context, root string, each func(*looked)) error {
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
	put := func(l *looked) error {
		select {
		case order <- l:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	go func() {
		defer close(order)
		defer close(todo)
		_ = walk(root, func(f found) error {
			l := &looked{found: f, done: make(chan struct{})}
			if !f.entry.Type().IsRegular() {
				close(l.done)
				return put(l)
			}
			if err := put(l); err != nil {
				return err
			}
			todo <- l // never more than order holds
			return nil
		}, func(err error) {
			l := &looked{err: err, done: make(chan struct{})}
			close(l.done)
			_ = put(l)
		})
	}()
	for l := range order {
		<-l.done
		if err := ctx.Err(); err != nil {
			return err
		}
		each(l)
	}
	return ctx.Err()
}

// look opens a file and examines it.
func (s *sweep) look(ctx context.Context, l *looked, slots *semaphore.Weighted, buf []byte) error {
	f, _, err := openLoose(l.path)
	if err != nil {
		return err
	}
	defer f.Close()
	signed, err := f.probe(buf)
	if err != nil {
		return err
	}
	if macho.IsBundleFile(path.Base(l.inner)) && f.Size() <= maxBundleFile {
		l.digest = macho.NewFileDigest()
		if _, err := io.Copy(l.digest, io.NewSectionReader(f, 0, f.Size())); err != nil {
			return fmt.Errorf("read %s: %w", l.path, err)
		}
	}
	if !signed {
		return nil
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
