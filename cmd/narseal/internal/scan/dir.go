package scan

import (
	"container/list"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"narseal/nar"
)

// A Dir is a directory in a tree that is walked. Everything in it is opened relative to its handle, which was itself
// opened relative to that of the directory around it: whoever may write in the tree and puts a symlink in the place of
// a directory leads nowhere.
//
// Only some handles are open at a time. One that was closed is opened again when it is needed, and is refused unless it
// leads to the same directory. Several goroutines may use a Dir at once.
type Dir struct {
	tree   *tree
	parent *Dir // nil at the root
	name   string
	path   nar.Path // as the user would write it
	inner  nar.Path // from the root
	depth  int      // directories around it

	id   fileID
	file *os.File      // nil: closed
	used int           // by Hold
	idle *list.Element // in tree.idle: open and not used
}

// fileID tells a file from all others that exist at the same time.
type fileID struct{ dev, ino uint64 }

func idOf(st *unix.Stat_t) fileID { return fileID{uint64(st.Dev), uint64(st.Ino)} }

const (
	// MaxDepth bounds the directories inside each other. PATH_MAX of Linux allows of no more in one path.
	MaxDepth = 2048
	// maxIdle bounds the handles that stay open while nobody uses them.
	maxIdle = 64
)

// tree has the open directories of a walk.
type tree struct {
	mu   sync.Mutex
	idle list.List // of *Dir, the one used last in front
}

// errMoved is a directory that is no longer the one that was there.
var errMoved = errors.New("another directory has its name now")

// Hold opens the directory, unless it is open, and returns its handle, which stays open until Release.
func (d *Dir) Hold() (*os.File, error) {
	d.tree.mu.Lock()
	defer d.tree.mu.Unlock()
	if err := d.open(); err != nil {
		return nil, err
	}
	d.used++
	if d.idle != nil {
		d.tree.idle.Remove(d.idle)
		d.idle = nil
	}
	return d.file, nil
}

// Release ends a Hold.
func (d *Dir) Release() {
	d.tree.mu.Lock()
	defer d.tree.mu.Unlock()
	d.used--
	d.tree.rest(d)
}

// open opens the directory, and those around it for that.
func (d *Dir) open() error {
	var closed []*Dir // from d outwards; the root is always open
	for at := d; at.file == nil; at = at.parent {
		closed = append(closed, at)
	}
	for i := len(closed) - 1; i >= 0; i-- {
		if err := closed[i].openIn(closed[i].parent); err != nil {
			return err
		}
		d.tree.rest(closed[i])
	}
	return nil
}

// openIn opens the directory relative to its parent, which is open.
func (d *Dir) openIn(parent *Dir) error {
	fd, err := openat(int(parent.file.Fd()), d.name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return d.failed("open", err)
	}
	return d.take(fd)
}

// take makes an open handle that of the directory, if it is the same.
func (d *Dir) take(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return d.failed("stat", err)
	}
	if id := idOf(&st); d.id == (fileID{}) {
		d.id = id
	} else if d.id != id {
		unix.Close(fd)
		return d.failed("open", errMoved)
	}
	d.file = os.NewFile(uintptr(fd), d.path.Short())
	return nil
}

// rest keeps a directory open that nobody uses, and closes those that were not used for long.
func (t *tree) rest(d *Dir) {
	if d.used > 0 || d.parent == nil {
		return
	}
	if d.idle != nil {
		t.idle.MoveToFront(d.idle)
		return
	}
	d.idle = t.idle.PushFront(d)
	for t.idle.Len() > maxIdle {
		last := t.idle.Back().Value.(*Dir)
		t.idle.Remove(last.idle)
		last.file.Close()
		last.file, last.idle = nil, nil
	}
}

// closeTree closes all handles of the tree whose root d is. None may be in use.
func (d *Dir) closeTree() {
	d.tree.mu.Lock()
	defer d.tree.mu.Unlock()
	for e := d.tree.idle.Front(); e != nil; e = e.Next() {
		open := e.Value.(*Dir)
		open.file.Close()
		open.file, open.idle = nil, nil
	}
	d.tree.idle.Init()
	d.file.Close()
}

// Path is the directory's path as the user would write it.
func (d *Dir) Path() nar.Path { return d.path }

func (d *Dir) failed(op string, err error) error { return pathError(op, d.path, err) }

// list reads the directory.
func (d *Dir) list() ([]fs.DirEntry, error) {
	dir, err := d.Hold()
	if err != nil {
		return nil, err
	}
	defer d.Release()
	fd, err := unix.FcntlInt(dir.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, d.failed("open", err)
	}
	named := os.NewFile(uintptr(fd), handleName(fd, d.path))
	defer named.Close()
	entries, err := named.ReadDir(-1)
	if err != nil {
		var p *os.PathError
		if errors.As(err, &p) {
			err = p.Err
		}
		err = d.failed("read", err)
	}
	return entries, err
}

// child is a directory in d.
func (d *Dir) child(e *Entry) (*Dir, error) {
	if d.depth == MaxDepth {
		return nil, e.failed("open", fmt.Errorf("more than %d directories inside each other", MaxDepth))
	}
	return &Dir{tree: d.tree, parent: d, name: e.Name, path: e.Path(), inner: e.Inner(), depth: d.depth + 1}, nil
}

// openRoot opens the directory of this name, following symlinks.
func openRoot(name string, path nar.Path) (*Dir, error) {
	d := &Dir{tree: &tree{}, path: path, inner: nar.NewPath("/")}
	fd, err := openat(unix.AT_FDCWD, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err == unix.EACCES {
		// What is in it can be opened all the same.
		fd, err = openat(unix.AT_FDCWD, name, openSearch|unix.O_DIRECTORY)
	}
	if err != nil {
		return nil, d.failed("open", err)
	}
	if err := d.take(fd); err != nil {
		return nil, err
	}
	return d, nil
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
