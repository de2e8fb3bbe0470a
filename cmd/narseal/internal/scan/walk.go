package scan

import (
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"narseal/nar"
)

// An Entry is a name that a walk visits.
type Entry struct {
	Dir  *Dir // its directory; nil for the directory where the walk began
	Name string
	Type fs.FileMode // as in fs.DirEntry, when its directory was read

	root nar.Path // only of the entry where the walk began
}

// Path returns the entry's path as the user would write it.
func (e *Entry) Path() nar.Path {
	if e.root != (nar.Path{}) {
		return e.root
	}
	return e.Dir.path.Join(e.Name)
}

// Inner returns the entry's path from the root of the walk: "/", "/bin", "/bin/sh".
func (e *Entry) Inner() nar.Path {
	if e.root != (nar.Path{}) {
		return nar.NewPath("/")
	}
	return e.Dir.inner.Join(e.Name)
}

// Depth returns the number of directories of the walk around the entry.
func (e *Entry) Depth() int {
	if e.root != (nar.Path{}) {
		return 0
	}
	return e.Dir.depth + 1
}

// Readlink returns the target of a symlink.
func (e *Entry) Readlink() (string, error) {
	b, err := e.readlink(make([]byte, maxTarget+1))
	return string(b), err
}

// readlink is Readlink into b, which has room for maxTarget+1 bytes.
func (e *Entry) readlink(b []byte) ([]byte, error) {
	dir, err := e.Dir.Hold()
	if err != nil {
		return nil, err
	}
	defer e.Dir.Release()
	n, err := ignoringEINTR(func() (int, error) { return unix.Readlinkat(int(dir.Fd()), e.Name, b) })
	if err == nil && n > maxTarget {
		err = unix.ENAMETOOLONG
	}
	if err != nil {
		return nil, e.failed("readlink", err)
	}
	return b[:n], nil
}

// Stat returns the present state of the entry. It follows no symlink.
func (e *Entry) Stat() (st unix.Stat_t, err error) {
	dir, err := e.Dir.Hold()
	if err != nil {
		return st, err
	}
	defer e.Dir.Release()
	if err := unix.Fstatat(int(dir.Fd()), e.Name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return st, e.failed("stat", err)
	}
	return st, nil
}

// maxTarget is the maximum length of a symlink's target, in bytes: PATH_MAX of Linux.
const maxTarget = 4096

func (e *Entry) failed(op string, err error) error { return pathError(op, e.Path(), err) }

// Walk calls each for path and, if it is a directory, for everything below it, in the order of an archive. If path is a
// symlink, Walk follows it, but no other symlink. Errors of reading are passed to failed, and what could not be read is
// left out. An error of each ends the walk. Entries can be opened until Walk returns.
func Walk(path string, each func(*Entry) error, failed func(error)) error {
	w := &walker{pool: &pool{}, each: each, failed: failed, opened: func(*Dir) {}, wait: func() {}}
	return w.walk(path)
}

// walker is one walk. Its entries may be opened on other goroutines.
type walker struct {
	pool   *pool
	each   func(*Entry) error
	failed func(error)
	opened func(*Dir) // called for each directory before its entries, or for the directory of a single file
	// signed, if not nil, is called for each directory that contains _CodeSignature, and for the one where the walk begins
	// if it contains Contents or Versions, before its entries.
	signed func(*Entry) error
	// skip, if not nil, reports whether to leave an entry out.
	skip func(*Entry) bool
	wait func() // called before the directories are closed

	maxNames int        // overrides the constant, if not 0
	open     []*listing // directories around the current entry, the outermost first
	reads    int        // number of times that a directory was read
}

func (w *walker) walk(path string) error {
	root, err := w.pool.openEntry(path)
	if err != nil {
		w.failed(err)
		return nil
	}
	defer w.pool.close()
	defer root.dir.Release()
	defer w.wait()
	if root.entry.Dir != nil {
		w.opened(root.dir)
		return w.each(root.entry)
	}
	if err := w.each(root.entry); err != nil {
		return err
	}
	return w.dir(root.entry, root.dir)
}

type rootEntry struct {
	entry *Entry
	dir   *Dir // the entry's directory, or the entry itself if it is a directory
}

// openEntry opens the directory where a walk begins, or the directory of a single file.
func (p *pool) openEntry(path string) (rootEntry, error) {
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
		// Names in the current directory are shown without "./".
		shown := nar.NewPath(filepath.Clean(path))
		if shown.String() == "." {
			shown = nar.Path{}
		}
		d, err := p.newRoot(real, shown)
		return rootEntry{e, d}, err
	}
	d, err := p.newRoot(filepath.Dir(real), nar.NewPath(filepath.Dir(path)))
	e.Dir, e.Name = d, filepath.Base(real)
	return rootEntry{e, d}, err
}

// dir walks the directory d, whose entry is e.
func (w *walker) dir(e *Entry, d *Dir) error {
	if d.depth%anchorDepth == anchorDepth-1 {
		if _, err := d.Hold(); err == nil { // enter returns the error
			defer d.Release()
		}
	}
	list, err := w.enter(d)
	defer w.leave()
	if err != nil {
		w.failed(err)
	} else {
		w.opened(d)
	}
	if w.signed != nil && list.signed {
		if err := w.signed(e); err != nil {
			return err
		}
	}
	for {
		item, ok, err := w.next(list)
		if err != nil {
			w.failed(err)
		}
		if !ok {
			return nil
		}
		e := &Entry{Dir: d, Name: item.text, Type: item.kind}
		if w.skip != nil && w.skip(e) {
			continue
		}
		if err := w.each(e); err != nil {
			return err
		}
		if !item.kind.IsDir() {
			continue
		}
		sub, err := d.child(e)
		if err != nil {
			w.failed(err)
			continue
		}
		if err := w.dir(e, sub); err != nil {
			return err
		}
	}
}
