package scan

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"narseal/nar"
)

// An Entry is a name that a walk came by.
type Entry struct {
	Dir  *Dir // that it lies in; nil for the directory from which the walk began
	Name string
	Type fs.FileMode // as in fs.DirEntry: what it was when its directory was read

	root nar.Path // of the entry from which the walk began
}

// Path is the entry's path as the user would write it.
func (e *Entry) Path() nar.Path {
	if e.root != (nar.Path{}) {
		return e.root
	}
	return e.Dir.path.Join(e.Name)
}

// Inner is its path from the root of the walk: "/", "/bin", "/bin/sh".
func (e *Entry) Inner() nar.Path {
	if e.root != (nar.Path{}) {
		return nar.NewPath("/")
	}
	return e.Dir.inner.Join(e.Name)
}

// Depth is the number of directories of the walk around the entry.
func (e *Entry) Depth() int {
	if e.root != (nar.Path{}) {
		return 0
	}
	return e.Dir.depth + 1
}

// Readlink returns the target of a symlink.
func (e *Entry) Readlink() (string, error) {
	dir, err := e.Dir.Hold()
	if err != nil {
		return "", err
	}
	defer e.Dir.Release()
	b := make([]byte, maxTarget+1)
	n, err := ignoringEINTR(func() (int, error) { return unix.Readlinkat(int(dir.Fd()), e.Name, b) })
	if err == nil && n > maxTarget {
		err = unix.ENAMETOOLONG
	}
	if err != nil {
		return "", e.failed("readlink", err)
	}
	return string(b[:n]), nil
}

// maxTarget bounds a symlink's target: PATH_MAX.
const maxTarget = 4096

func (e *Entry) failed(op string, err error) error { return pathError(op, e.Path(), err) }

// Walk calls each for path and, if it is a directory, for all that lies in it, in the order of an archive. It follows
// path itself if that is a symlink, and no other symlink. What cannot be read goes to failed and is left out; an error
// of each ends the walk. Entries can be opened until Walk returns.
func Walk(path string, each func(*Entry) error, failed func(error)) error {
	return walk(path, each, failed, func() {})
}

// walk is Walk for entries that are opened on other goroutines: it calls wait before it closes the directories.
func walk(path string, each func(*Entry) error, failed func(error), wait func()) error {
	root, err := openEntry(path)
	if err != nil {
		failed(err)
		return nil
	}
	defer root.dir.closeTree()
	defer wait()
	if err := each(root.entry); err != nil {
		return err
	}
	if root.entry.Dir != nil {
		return nil
	}
	return root.dir.walk(each, failed)
}

type rootEntry struct {
	entry *Entry
	dir   *Dir // the entry's, or the entry itself if it is a directory
}

// openEntry opens the directory from which a walk begins, or that of a file.
func openEntry(path string) (rootEntry, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return rootEntry{}, err
	}
	info, err := os.Stat(real)
	if err != nil {
		return rootEntry{}, err
	}
	e := &Entry{Type: info.Mode().Type(), root: nar.NewPath(path)}
	if info.IsDir() {
		// Names in the current directory come without it.
		shown := nar.NewPath(filepath.Clean(path))
		if shown.String() == "." {
			shown = nar.Path{}
		}
		d, err := openRoot(real, shown)
		return rootEntry{e, d}, err
	}
	d, err := openRoot(filepath.Dir(real), nar.NewPath(filepath.Dir(path)))
	e.Dir, e.Name = d, filepath.Base(real)
	return rootEntry{e, d}, err
}

// walk goes through what lies in a directory.
func (d *Dir) walk(each func(*Entry) error, failed func(error)) error {
	list, err := d.list()
	if err != nil {
		failed(err)
	}
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	for _, item := range list {
		e := &Entry{Dir: d, Name: item.Name(), Type: item.Type()}
		if err := each(e); err != nil {
			return err
		}
		if !item.IsDir() {
			continue
		}
		sub, err := d.child(e)
		if err != nil {
			failed(err)
			continue
		}
		if err := sub.walk(each, failed); err != nil {
			return err
		}
	}
	return nil
}
