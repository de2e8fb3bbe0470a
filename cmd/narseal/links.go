package main

import (
	"fmt"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"narseal/cmd/narseal/internal/atomicfile"
	"narseal/cmd/narseal/internal/scan"
	"narseal/macho"
)

// links keeps the hard links among the names of a walk together: the first is
// worked on, and the others are linked to what took its place.
type links struct {
	mu  sync.Mutex
	all map[inode]*linked
}

type inode struct{ dev, ino uint64 }

// linked is a file with several names.
type linked struct {
	names  uint64 // that it had
	seen   uint64
	size   int64
	mtime  unix.Timespec
	done   chan struct{}
	report *macho.Report
	err    error
	path   string // of the first name, for people
	now    string // what took the first one's place; empty: nothing did
}

// claim tells whether f is the first of its names, which then has to call
// finish. For all others it waits until that is done.
func (s *links) claim(f *scan.File) (l *linked, first bool) {
	key := inode{uint64(f.Inode.Dev), f.Inode.Ino}
	s.mu.Lock()
	l = s.all[key]
	// An inode's number may be given to another file once it is free.
	if l == nil || l.size != f.Inode.Size || l.mtime != f.Inode.Mtim {
		l = &linked{names: uint64(f.Inode.Nlink), size: f.Inode.Size, mtime: f.Inode.Mtim,
			path: f.Path().String(), done: make(chan struct{})}
		if s.all == nil {
			s.all = map[inode]*linked{}
		}
		s.all[key] = l
		first = true
	}
	if l.seen++; l.seen == l.names {
		delete(s.all, key)
	}
	s.mu.Unlock()
	if !first {
		<-l.done
	}
	return l, first
}

func (l *linked) finish(now string, rep *macho.Report, err error) {
	l.now, l.report, l.err = now, rep, err
	close(l.done)
}

// outside calls f for each replaced file that has names the walk did not come
// by, and still its old contents under them.
func (s *links) outside(f func(path string, names uint64)) {
	for _, l := range s.all {
		if l.now != "" {
			f(l.path, l.names-l.seen)
		}
	}
}

// relink makes name another name of the file now.
func relink(x *exits, now string, f *scan.File) error {
	name := realName(f)
	return atomicfile.Link(x.Registry, now, name, func() error {
		var st unix.Stat_t
		err := unix.Lstat(name, &st)
		if err == nil && (st.Dev != f.Inode.Dev || st.Ino != f.Inode.Ino || st.Size != f.Inode.Size || st.Mtim != f.Inode.Mtim) {
			err = fmt.Errorf("%s: the file changed while its other name was repaired", f.Path())
		}
		return err
	})
}

// realName is a file's name without symlinks in the way.
func realName(f *scan.File) string {
	name, err := filepath.EvalSymlinks(f.Path().String())
	if err != nil {
		return f.Path().String()
	}
	return name
}
