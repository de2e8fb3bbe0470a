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

// member is a file whose bundle may have to be sealed again. It is read where it lies until the first write, which makes
// a copy. Copies of all bundles inside each other take their places together, those of the outer ones first: a run that is
// killed meanwhile leaves the inner ones as they were, and so the next one still knows what the outer ones must have.
type member struct {
	r       *Repairer
	entry   scan.Entry
	inode   unix.Stat_t // when it was hashed
	counted bool        // as repaired, for another reason

	file *scan.File // nil: not open
	dir  *directory // of the copy
	next *replacement
}

// maxPending bounds the copies that wait, each of which is an open file. Past it, inner bundles do not wait for outer ones.
const maxPending = 64

// errChanged is a file that is no longer the one that was hashed.
var errChanged = errors.New("the file changed after it was read")

// member is scan.Scanner's Member.
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

// copy makes the copy that the file is changed in.
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

// settled is scan.Scanner's Settled: it puts copies in their places when nothing in them can change any more.
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
			m.abort() // the files around it are as they were, or newer: the next run goes on
			continue
		}
		if err := m.commit(); err != nil {
			r.Fail(m.wrap(err))
			failed = true
		}
	}
	r.members = nil
}

// drop leaves what was not put in its place.
func (r *Repairer) drop() {
	for _, m := range r.members {
		m.abort()
	}
	r.members = nil
}

// abort leaves the file as it was.
func (m *member) abort() {
	m.file.Close()
	if m.next != nil {
		m.next.Abort()
		_ = m.r.dirs.leave(m.dir)
	}
	m.next, m.file, m.dir = nil, nil, nil
}

// commit puts the copy in the place of the file.
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

// sealedLinks has the files with several names that were sealed again.
type sealedLinks map[scan.FileID]*group

func (s *sealedLinks) add(m *member, now unix.Stat_t) {
	if *s == nil {
		*s = sealedLinks{}
	}
	(*s)[scan.IDOf(&m.inode)] = &group{names: uint64(m.inode.Nlink), seen: 1, path: m.entry.Path(), now: now, first: &m.entry}
}

// relink makes the file another name of what took the place of its first name, if both become the same.
func (m *member) relink() (bool, error) {
	g := m.r.sealedLinks[scan.IDOf(&m.inode)]
	if g == nil {
		return false, nil
	}
	other, err := g.first.Open()
	if err != nil {
		return false, nil // a file of its own then
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

// equal reports whether two files have the same first size bytes.
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
