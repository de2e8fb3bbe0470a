package inplace

import (
	"errors"
	"sync"

	"golang.org/x/sys/unix"

	"narseal/cmd/narseal/internal/atomicfile"
	"narseal/cmd/narseal/internal/scan"
	"narseal/macho"
	"narseal/nar"
)

// links keeps hard links together: the first name of a file that is opened is repaired, and its other names become
// names of the new file.
type links struct {
	mu  sync.Mutex
	all map[scan.FileID]*group
}

// group is a file with several names.
type group struct {
	names uint64 // when the first one was opened
	seen  uint64
	size  int64
	mtime unix.Timespec
	born  unix.Timespec // zero if unknown
	path  nar.Path      // of the first name

	// Set when done is closed:
	done   chan struct{}
	report *macho.Report
	err    error
	// first is the entry whose file was replaced, and now describes the new file. first is nil if no replacement was
	// needed.
	first *scan.Entry
	now   unix.Stat_t
}

// claim returns the group of a file, and whether this is its first name that was opened. If so, the caller must call
// finish. For the other names, claim waits until finish was called. A file with a single name has no group.
//
// A link count of 1 alone does not mean a single name: it is also that of the last name after all others were replaced.
func (s *links) claim(f *scan.File) (g *group, first bool) {
	key := scan.IDOf(&f.Inode)
	s.mu.Lock()
	g = s.all[key]
	if g == nil && f.Inode.Nlink == 1 {
		s.mu.Unlock()
		return nil, false
	}
	born := birthTime(f)
	// The inode number of a deleted file may be reused.
	if g == nil || g.size != f.Inode.Size || g.mtime != f.Inode.Mtim || g.born != born {
		g = &group{names: uint64(f.Inode.Nlink), size: f.Inode.Size, mtime: f.Inode.Mtim, born: born,
			path: f.Path(), done: make(chan struct{})}
		if s.all == nil {
			s.all = map[scan.FileID]*group{}
		}
		s.all[key] = g
		first = true
	}
	if g.seen++; g.seen == g.names {
		delete(s.all, key)
	}
	s.mu.Unlock()
	if !first {
		<-g.done
	}
	return g, first
}

// finish ends the work on the first name. first is nil if its file was not replaced.
func (g *group) finish(first *scan.Entry, now unix.Stat_t, rep *macho.Report, err error) {
	g.first, g.now, g.report, g.err = first, now, rep, err
	close(g.done)
}

// elsewhere calls f for each replaced file that has names that were not visited. These names still have the old
// contents.
func (s *links) elsewhere(f func(path nar.Path, names uint64)) {
	for _, g := range s.all {
		if g.first != nil {
			f(g.path, g.names-g.seen)
		}
	}
}

// errLinkMoved means that the repaired file of the first name was itself replaced in the meantime.
var errLinkMoved = errors.New("the file that took the place of its other name is gone")

// relink makes the name of f in the directory d a hard link to the group's new file.
func (r *Repairer) relink(d *directory, g *group, f *scan.File) error {
	from, err := g.first.Dir.Hold()
	if err != nil {
		return err
	}
	defer g.first.Dir.Release()
	to := atomicfile.NewDir(d.File)
	return to.Link(r.Cleanup, f.Entry.Name, atomicfile.NewDir(from), g.first.Name, func(hidden string) error {
		var st unix.Stat_t
		if err := unix.Fstatat(int(d.Fd()), hidden, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		if !isSame(&st, &g.now) {
			return errLinkMoved
		}
		st, err := f.Entry.Stat()
		if err == nil && !isSame(&st, &f.Inode) {
			err = errReplaced
		}
		return err
	})
}

// isSame reports whether a and b are the same file with unchanged contents. Names and link counts are ignored.
func isSame(a, b *unix.Stat_t) bool {
	return scan.IDOf(a) == scan.IDOf(b) && a.Size == b.Size && a.Mtim == b.Mtim
}
