package inplace

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"narseal/cmd/narseal/internal/atomicfile"
	"narseal/cmd/narseal/internal/scan"
	"narseal/macho"
)

// member is a file whose bundle may have to be sealed again. The first write creates a copy; until then, the file
// itself is read. The copies for nested bundles get their names together, those of outer bundles first. If a run is
// killed in between, the inner bundles are unchanged, so the next run can still determine the new seals of the outer
// ones.
type member struct {
	r       *Repairer
	entry   scan.Entry
	inode   unix.Stat_t // the file when it was hashed
	counted bool        // already counted as repaired

	file *scan.File // nil: not open
	dir  *directory // the directory of the copy
	next *replacement
}

// maxPending is the maximum number of pending copies, each of which is an open file. If there are more, inner bundles
// do not wait for outer ones.
const maxPending = 64

// errChanged means that a file is no longer the one that was hashed.
var errChanged = errors.New("the file changed after it was read")

// member implements Member of scan.Scanner.
func (r *Repairer) member(res *scan.Result) macho.Image {
	return &member{r: r, entry: res.Entry, inode: res.Inode, counted: r.current}
}

// Size implements macho.Image.
func (m *member) Size() int64 { return m.inode.Size }

// ReadAt implements io.ReaderAt.
func (m *member) ReadAt(b []byte, off int64) (int, error) {
	if m.next != nil {
		return m.next.ReadAt(b, off)
	}
	if err := m.open(); err != nil {
		return 0, err
	}
	return m.file.ReadAt(b, off)
}

// WriteAt implements io.WriterAt.
func (m *member) WriteAt(b []byte, off int64) (int, error) {
	if off < 0 || int64(len(b)) > m.Size()-off {
		return 0, m.wrap(errors.New("write past the end of the file"))
	}
	if err := m.copy(); err != nil {
		return 0, m.wrap(err)
	}
	return m.next.WriteAt(b, off)
}

func (m *member) wrap(err error) error { return fmt.Errorf("%s: %w", m.entry.Path().Short(), err) }

func (m *member) open() error {
	if m.file != nil {
		return nil
	}
	f, err := m.entry.Open()
	if err != nil {
		return err
	}
	if !isSame(&f.Inode, &m.inode) {
		f.Close()
		return m.wrap(errChanged)
	}
	m.file = f
	m.r.members = append(m.r.members, m)
	return nil
}

// copy creates the copy that receives the changes.
func (m *member) copy() error {
	if m.next != nil {
		return nil
	}
	if err := m.open(); err != nil {
		return err
	}
	d, err := m.r.dirs.enter(m.entry.Dir)
	if err != nil {
		return err
	}
	made, err := atomicfile.NewDir(d.File).Replace(m.r.Cleanup, m.entry.Name, 0o600)
	if err == nil {
		m.dir, m.next = d, &replacement{made, m.Size()}
		err = copyData(made.File, m.file.File, m.Size())
		if err == nil {
			return nil
		}
		made.Abort()
		m.dir, m.next = nil, nil
	}
	return errors.Join(err, m.r.dirs.leave(d))
}

// settled implements Settled of scan.Scanner. It commits the copies once they can no longer change.
func (r *Repairer) settled(holds bool) {
	if len(r.members) == 0 {
		return
	}
	var pending []*member
	for _, m := range r.members {
		if m.next != nil {
			pending = append(pending, m)
			continue
		}
		m.file.Close()
		m.file = nil
	}
	r.members = pending
	if holds && len(pending) <= maxPending {
		return
	}
	slices.Reverse(pending)
	failed := false
	for _, m := range pending {
		if failed {
			m.abort() // outer bundles are unchanged or already committed: the next run continues
			continue
		}
		if err := m.commit(); err != nil {
			r.Fail(m.wrap(err))
			failed = true
		}
	}
	r.members = nil
}

// drop discards the copies that were not committed.
func (r *Repairer) drop() {
	for _, m := range r.members {
		m.abort()
	}
	r.members = nil
}

// abort discards the copy, unless it was committed, and closes the file. It reports a directory that it cannot restore.
func (m *member) abort() {
	m.file.Close()
	if m.next != nil {
		m.next.Abort()
		if err := m.r.dirs.leave(m.dir); err != nil {
			m.r.Fail(m.wrap(err))
		}
	}
	m.next, m.file, m.dir = nil, nil, nil
}

// commit replaces the file with the copy.
func (m *member) commit() error {
	defer m.abort()
	if linked, err := m.relink(); linked || err != nil {
		return err
	}
	lost, err := m.next.inherit(m.file)
	if err != nil {
		return err
	}
	if len(lost) > 0 {
		m.r.Warn(m.entry.Path(), "extended attributes that cannot be kept: "+strings.Join(lost, ", "))
	}
	if err := m.file.Unchanged(); err != nil {
		return err
	}
	m.next.Check = func() error { return sameFile(m.file) }
	var now unix.Stat_t
	if err := unix.Fstat(int(m.next.Fd()), &now); err != nil {
		return fmt.Errorf("stat of the new file: %w", err)
	}
	if err := m.next.Commit(); err != nil {
		return err
	}
	if m.inode.Nlink > 1 {
		m.r.sealedLinks.add(m, now)
	}
	m.done()
	return nil
}

func (m *member) done() {
	if !m.counted && m.r.Sealed != nil {
		m.r.Sealed(m.entry.Path())
	}
}

// sealedLinks holds the files with several names that were changed to repair a seal.
type sealedLinks map[scan.FileID]*group

func (s *sealedLinks) add(m *member, now unix.Stat_t) {
	if *s == nil {
		*s = sealedLinks{}
	}
	(*s)[scan.IDOf(&m.inode)] = &group{names: uint64(m.inode.Nlink), seen: 1, path: m.entry.Path(), now: now, first: &m.entry}
}

// relink makes the file a hard link to the replacement of its first name, if their new contents are equal.
func (m *member) relink() (bool, error) {
	g := m.r.sealedLinks[scan.IDOf(&m.inode)]
	if g == nil {
		return false, nil
	}
	other, err := g.first.Open()
	if err != nil {
		return false, nil // then it becomes a separate file
	}
	defer other.Close()
	if !isSame(&other.Inode, &g.now) || !equal(other, m.next, m.Size()) {
		return false, nil
	}
	if err := m.r.relink(m.dir, g, m.file); err != nil {
		return false, err
	}
	if g.seen++; g.seen == g.names {
		delete(m.r.sealedLinks, scan.IDOf(&m.inode))
	}
	m.done()
	return true, nil
}

// equal reports whether the first size bytes of two files are equal.
func equal(a, b io.ReaderAt, size int64) bool {
	const piece = 64 << 10
	x, y := make([]byte, piece), make([]byte, piece)
	for off := int64(0); off < size; off += piece {
		n := min(piece, size-off)
		if k, _ := a.ReadAt(x[:n], off); int64(k) != n {
			return false
		}
		if k, _ := b.ReadAt(y[:n], off); int64(k) != n || !bytes.Equal(x[:n], y[:n]) {
			return false
		}
	}
	return true
}
