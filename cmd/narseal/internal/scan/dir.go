package scan

import (
	"container/list"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"narseal/nar"
)

// A Dir is a directory in a tree that is walked. Everything in it is opened relative to its handle, which was itself
// opened relative to the handle of its parent. So a user who replaces a directory in the tree with a symlink cannot
// redirect the walk.
//
// Only some handles are open at the same time. A closed one is opened again when it is needed, and it is an error if it
// no longer leads to the same directory. Several goroutines may use a Dir at the same time.
type Dir struct {
	pool   *pool
	parent *Dir     // nil at the root
	name   string   // in parent, or of the root
	path   nar.Path // as the user would write it
	inner  nar.Path // from the root
	depth  int      // number of directories around it

	id   FileID
	file *os.File      // nil: closed
	used int           // number of Holds without a Release
	idle *list.Element // in pool.idle: the directory is open and unused
}

// FileID identifies a file among all that exist at the same time.
type FileID struct{ dev, ino uint64 }

// IDOf returns the identity in the result of a stat.
func IDOf(st *unix.Stat_t) FileID { return FileID{uint64(st.Dev), uint64(st.Ino)} }

const (
	// MaxDepth is the maximum number of nested directories. PATH_MAX of Linux does not allow more in one path.
	MaxDepth = 2048
	// maxIdle is the maximum number of unused handles that stay open.
	maxIdle = 32
	// anchorDepth is the distance in levels between parents of the current directory that stay open. So at most that
	// many directories must be opened again to return to a closed one.
	anchorDepth = 64
)

// pool holds the open directories of walks.
type pool struct {
	mu   sync.Mutex
	idle list.List // of *Dir, the most recently used first

	opened int // number of times that a directory was opened
}

// errMoved means that another directory took the place of a closed one.
var errMoved = errors.New("another directory has its name now")

// Hold opens the directory, unless it is open, and returns its handle, which stays open until Release.
func (d *Dir) Hold() (*os.File, error) {
	d.pool.mu.Lock()
	defer d.pool.mu.Unlock()
	if err := d.open(); err != nil {
		return nil, err
	}
	d.used++
	if d.idle != nil {
		d.pool.idle.Remove(d.idle)
		d.idle = nil
	}
	return d.file, nil
}

// Release ends a Hold.
func (d *Dir) Release() {
	d.pool.mu.Lock()
	defer d.pool.mu.Unlock()
	d.used--
	d.pool.rest(d)
}

// open opens the directory and, if necessary, its parents.
func (d *Dir) open() error {
	var closed []*Dir // from d outwards
	for at := d; at != nil && at.file == nil; at = at.parent {
		closed = append(closed, at)
	}
	for i := len(closed) - 1; i >= 0; i-- {
		if err := closed[i].openHere(); err != nil {
			return err
		}
		d.pool.rest(closed[i])
	}
	return nil
}

// openHere opens the directory relative to its parent, which must be open. It opens the root by name.
func (d *Dir) openHere() error {
	if d.parent == nil {
		return d.openRoot()
	}
	fd, err := openat(int(d.parent.file.Fd()), d.name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return d.failed("open", err)
	}
	return d.take(fd)
}

func (d *Dir) openRoot() error {
	fd, err := openat(unix.AT_FDCWD, d.name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err == unix.EACCES {
		// Without read permission, the files in it can still be opened.
		fd, err = openat(unix.AT_FDCWD, d.name, openSearch|unix.O_DIRECTORY)
	}
	if err != nil {
		return d.failed("open", err)
	}
	return d.take(fd)
}

// take makes fd the handle of the directory, if it is the same directory as before.
func (d *Dir) take(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return d.failed("stat", err)
	}
	if id := IDOf(&st); d.id == (FileID{}) {
		d.id = id
	} else if d.id != id {
		unix.Close(fd)
		return d.failed("open", errMoved)
	}
	d.file = os.NewFile(uintptr(fd), d.path.Short())
	d.pool.opened++
	return nil
}

// rest puts an unused directory into the pool, and closes the least recently used ones.
func (p *pool) rest(d *Dir) {
	if d.used > 0 {
		return
	}
	if d.idle != nil {
		p.idle.MoveToFront(d.idle)
		return
	}
	d.idle = p.idle.PushFront(d)
	p.shrink(maxIdle)
}

// shrink closes the least recently used directories, so that to of them stay open.
func (p *pool) shrink(to int) {
	for p.idle.Len() > to {
		last := p.idle.Back().Value.(*Dir)
		p.idle.Remove(last.idle)
		last.file.Close()
		last.file, last.idle = nil, nil
	}
}

// close closes all unused directories. They can be opened again.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shrink(0)
}

// Path returns the directory's path as the user would write it.
func (d *Dir) Path() nar.Path { return d.path }

func (d *Dir) failed(op string, err error) error { return pathError(op, d.path, err) }

// child returns the Dir of a directory in d.
func (d *Dir) child(e *Entry) (*Dir, error) {
	if d.depth == MaxDepth {
		return nil, e.failed("open", fmt.Errorf("more than %d nested directories", MaxDepth))
	}
	return &Dir{pool: d.pool, parent: d, name: e.Name, path: e.Path(), inner: e.Inner(), depth: d.depth + 1}, nil
}

// newRoot opens the directory called name, which may be a symlink, and holds it.
func (p *pool) newRoot(name string, path nar.Path) (*Dir, error) {
	d := &Dir{pool: p, name: name, path: path, inner: nar.NewPath("/")}
	_, err := d.Hold()
	return d, err
}

func openat(dir int, name string, flags int) (int, error) {
	return ignoringEINTR(func() (int, error) { return unix.Openat(dir, name, flags|unix.O_CLOEXEC, 0) })
}

func pathError(op string, path nar.Path, err error) error {
	if path.Len() == 0 {
		path = nar.NewPath(".")
	}
	return &os.PathError{Op: op, Path: path.Short(), Err: err}
}
