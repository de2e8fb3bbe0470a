package scan

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// A listing iterates over the names of a directory in the order of an archive. For a large directory, it holds only the
// next names, and reads the directory again for the names after them.
type listing struct {
	dir    *Dir
	items  []name
	next   int    // index in items
	last   string // the last name that was passed on
	begun  bool   // a name was passed on
	more   bool   // there are names after the items
	size   int    // of items, in bytes of memory
	signed bool   // the directory is a bundle: it contains _CodeSignature
	most   int    // maximum size of items after the directory was read
}

type name struct {
	text string
	kind fs.FileMode
}

const (
	// maxNames is the maximum memory for the names of one directory after it was read, in bytes. While it is read, they
	// may take twice as much. So may those of all directories around it together.
	maxNames    = 12 << 20
	nameMemory  = 48 // for each name, besides its text
	namesAtOnce = 1 << 10
)

func compareNames(a, b name) int { return cmp.Compare(a.text, b.text) }

// fill reads the directory for the names after the last one. It may return both names and an error.
func (l *listing) fill() error {
	l.items, l.next, l.size, l.more = nil, 0, 0, false
	dir, err := l.dir.Hold()
	if err != nil {
		return err
	}
	defer l.dir.Release()
	fd, err := unix.FcntlInt(dir.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return l.dir.failed("open", err)
	}
	f := os.NewFile(uintptr(fd), handleName(fd, l.dir.path))
	defer f.Close()
	// Both handles share one file position.
	if _, err := f.Seek(0, io.SeekStart); err != nil && !errors.Is(err, unix.EBADF) { // EBADF: opened for searching only
		return l.readFailed(err)
	}
	bound := "" // if more is set: names from here on are left for later
	for err == nil {
		var list []fs.DirEntry
		list, err = f.ReadDir(namesAtOnce)
		for _, item := range list {
			text := item.Name()
			l.signed = l.signed || text == "_CodeSignature" || l.dir.depth == 0 && item.IsDir() && (text == "Contents" || text == "Versions")
			if l.begun && text <= l.last {
				continue
			}
			if l.more && text >= bound {
				continue
			}
			l.items = append(l.items, name{text, item.Type()})
			if l.size += nameMemory + len(text); l.size > 2*l.most && len(l.items) > 1 {
				bound = l.cut()
			}
		}
	}
	slices.SortFunc(l.items, compareNames)
	if err != io.EOF {
		return l.readFailed(err)
	}
	return nil
}

// cut keeps only the first names, and returns the first name that it dropped.
func (l *listing) cut() (bound string) {
	slices.SortFunc(l.items, compareNames)
	keep := 0
	for l.size = 0; keep == 0 || l.size < l.most && keep < len(l.items)-1; keep++ {
		l.size += nameMemory + len(l.items[keep].text)
	}
	bound = l.items[keep].text
	l.more = true
	clear(l.items[keep:])
	l.items = l.items[:keep]
	return bound
}

func (l *listing) readFailed(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return l.dir.failed("read", err)
}

// trim drops the last of the names that were not passed on yet, so that the others take at most size bytes of memory.
// fill reads them again. It drops at least a quarter of them, so that it need not be called again for each directory in
// this one.
func (l *listing) trim(size int) {
	left := l.items[l.next:]
	size = min(size, l.size/4*3)
	keep := 0
	for l.size = 0; keep < len(left); keep++ {
		n := nameMemory + len(left[keep].text)
		if l.size+n > size {
			l.more = true
			break
		}
		l.size += n
	}
	l.items, l.next = slices.Clone(left[:keep]), 0
}

func (w *walker) most() int { return cmp.Or(w.maxNames, maxNames) }

// enter reads the names of a directory, and frees memory for them.
func (w *walker) enter(d *Dir) (*listing, error) {
	l := &listing{dir: d, most: w.most()}
	err := w.fill(l)
	w.open = append(w.open, l)
	w.makeRoom()
	return l, err
}

// leave leaves the directory that was entered last.
func (w *walker) leave() { w.open = w.open[:len(w.open)-1] }

// fill reads the next names of a directory.
func (w *walker) fill(l *listing) error {
	w.reads++
	return l.fill()
}

// next returns the next name of the directory that was entered last. ok is false after the last one.
func (w *walker) next(l *listing) (item name, ok bool, err error) {
	if l.next == len(l.items) && l.more {
		err = w.fill(l)
		w.makeRoom()
	}
	if l.next == len(l.items) {
		return name{}, false, err
	}
	item = l.items[l.next]
	l.next++
	l.last, l.begun = item.text, true
	return item, true, err
}

// makeRoom drops names of the directories around the current one if all names together take too much memory. It begins
// with the outermost directories, whose names are needed last. Each directory keeps some names, since otherwise it
// would be read again for each directory in it.
func (w *walker) makeRoom() {
	excess := -2 * w.most()
	for _, l := range w.open {
		excess += l.size
	}
	for i, l := range w.open[:len(w.open)-1] {
		if excess <= 0 {
			return
		}
		least := w.most() / 4 >> min(len(w.open)-1-i, 30)
		if l.size <= least {
			continue
		}
		before := l.size
		l.trim(max(l.size-excess, least))
		excess -= before - l.size
	}
}
