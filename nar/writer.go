package nar

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	nixnar "github.com/nix-community/go-nix/pkg/nar"
)

// directWrite is the length from which contents go to the output past the
// buffer: below it a copy is cheaper than a system call.
const directWrite = 64 << 10

// A Writer writes one archive entry by entry. It buffers up to 256 KiB,
// starts no goroutine, and checks everything that the package comment
// states: it can be made to fail, not to write a malformed archive. After an
// error every method returns the same error.
type Writer struct {
	w     io.Writer
	buf   []byte
	off   int64 // bytes passed to w
	err   error
	at    trail
	left  int64 // contents still to come
	pad   int
	state writeState
}

type writeState int

const (
	beforeRoot writeState = iota
	inFile                // contents of a regular file are open
	inDirectory
	rootWritten // nothing more may be added
	closed
)

// NewWriter returns a Writer whose archive goes to w.
func NewWriter(w io.Writer) *Writer {
	return &Writer{w: w}
}

// Offset is the number of bytes of the archive that were written so far,
// those in the buffer included.
func (w *Writer) Offset() int64 { return w.off + int64(len(w.buf)) }

// WriteEntry begins an entry: it closes the directories that are deeper than
// e.Depth, and those must have been listed in full. The Size bytes of a
// regular file's contents follow by Write. The entry is not kept.
func (w *Writer) WriteEntry(e *Entry) error {
	if w.err != nil {
		return w.err
	}
	if err := w.entry(e); err != nil {
		return w.fail(err)
	}
	return nil
}

// WriteHeader is WriteEntry for go-nix's type: an entry with a full path,
// whose directory must be open or have been the one before.
func (w *Writer) WriteHeader(h *nixnar.Header) error {
	if w.err != nil {
		return w.err
	}
	e := Entry{Type: h.Type, Executable: h.Executable, Size: h.Size, Target: []byte(h.LinkTarget)}
	if h.Path != "/" {
		i := strings.LastIndexByte(h.Path, '/')
		if i < 0 || h.Path[0] != '/' {
			return w.fail(w.bad(h.Path, errors.New("the path does not start with a slash")))
		}
		dir := h.Path[:i]
		e.Name = []byte(h.Path[i+1:])
		e.Depth = 1 + strings.Count(dir, "/")
		if open := w.openPath(e.Depth); open != dir {
			return w.fail(w.bad(h.Path, fmt.Errorf("directory %q is not open", dir)))
		}
	}
	return w.WriteEntry(&e)
}

// openPath is the path of the open directory whose entries have this depth,
// "" for the root, and "?" where none is open.
func (w *Writer) openPath(depth int) string {
	if depth > w.at.dirs() {
		return "?"
	}
	t := trail{ends: w.at.ends[:depth-1]}
	if depth > 1 {
		t.names = w.at.names[:w.at.ends[depth-2]]
		return t.path()
	}
	return ""
}

// Write adds to the contents of the file that WriteEntry began.
func (w *Writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if int64(len(p)) > w.left {
		return 0, w.fail(w.bad(w.at.path(), fmt.Errorf("contents: %d bytes more than the entry's size", int64(len(p))-w.left)))
	}
	w.left -= int64(len(p))
	var err error
	if len(p) >= directWrite {
		if err = w.flush(); err == nil {
			err = w.output(p)
		}
	} else {
		err = w.add(p)
	}
	if err != nil {
		return 0, w.fail(err)
	}
	return len(p), nil
}

// Close ends the archive and passes on what is buffered. It fails if the
// archive is not complete. It does not close the output.
func (w *Writer) Close() error {
	if w.err != nil {
		return w.err
	}
	if w.state == closed {
		return nil
	}
	if w.state == beforeRoot {
		return w.fail(w.bad("", errors.New("close: no entry was written")))
	}
	err := w.endFile()
	for err == nil && w.at.dirs() > 0 {
		err = w.closeDirectory()
	}
	if err == nil {
		err = w.flush()
	}
	if err != nil {
		return w.fail(err)
	}
	w.state = closed
	return nil
}

func (w *Writer) entry(e *Entry) error {
	if err := w.endFile(); err != nil {
		return err
	}
	if w.state == beforeRoot {
		if e.Depth != 0 || len(e.Name) > 0 {
			return w.bad("", errors.New("the first entry must be the root, of depth 0 and without a name"))
		}
		if err := w.add(tokMagic); err != nil {
			return err
		}
		return w.node(e)
	}
	if w.state != inDirectory || e.Depth < 1 || e.Depth > w.at.dirs() {
		return w.bad(string(e.Name), fmt.Errorf("an entry of depth %d, but %d directories are open", e.Depth, w.at.dirs()))
	}
	for w.at.dirs() > e.Depth {
		if err := w.closeDirectory(); err != nil {
			return err
		}
	}
	if err := checkName(e.Name); err != nil {
		return w.bad(w.at.path(), fmt.Errorf("%w: %q", err, e.Name))
	}
	if last := w.at.last(); bytes.Compare(e.Name, last) <= 0 {
		return w.bad(w.at.path(), &OrderError{Name: string(e.Name), Last: string(last)})
	}
	w.at.set(e.Name)
	if err := w.add(tokEntry); err != nil {
		return err
	}
	if err := w.addString(e.Name); err != nil {
		return err
	}
	if err := w.add(tokEntryNode); err != nil {
		return err
	}
	return w.node(e)
}

// node writes a node as far as its contents or its first entry.
func (w *Writer) node(e *Entry) error {
	if e.Type != nixnar.TypeRegular && (e.Size != 0 || e.Executable) {
		return w.bad(w.at.path(), fmt.Errorf("a %s has neither contents nor an executable flag", e.Type))
	}
	if e.Type != nixnar.TypeSymlink && len(e.Target) > 0 {
		return w.bad(w.at.path(), fmt.Errorf("a %s has no target", e.Type))
	}
	if err := w.add(tokNode); err != nil {
		return err
	}
	switch e.Type {
	case nixnar.TypeRegular:
		if e.Size < 0 {
			return w.bad(w.at.path(), fmt.Errorf("size %d is negative", e.Size))
		}
		if err := w.add(tokRegular); err != nil {
			return err
		}
		if e.Executable {
			if err := w.add(tokExecutable); err != nil {
				return err
			}
		}
		if err := w.add(tokContents); err != nil {
			return err
		}
		w.state, w.left, w.pad = inFile, e.Size, padding(e.Size)
		return w.addLength(e.Size)
	case nixnar.TypeSymlink:
		if err := checkTarget(e.Target); err != nil {
			return w.bad(w.at.path(), err)
		}
		if err := w.add(tokSymlink); err != nil {
			return err
		}
		if err := w.add(tokTarget); err != nil {
			return err
		}
		if err := w.addString(e.Target); err != nil {
			return err
		}
		return w.closeNode()
	case nixnar.TypeDirectory:
		if w.at.dirs() == MaxDepth {
			return w.bad(w.at.path(), fmt.Errorf("more than %d directories inside each other", MaxDepth))
		}
		if err := w.add(tokDirectory); err != nil {
			return err
		}
		w.state = inDirectory
		w.at.enter()
		return nil
	}
	return w.bad(w.at.path(), fmt.Errorf("unknown type %q", e.Type))
}

// endFile ends the contents that are open, if any.
func (w *Writer) endFile() error {
	if w.state != inFile {
		return nil
	}
	if w.left > 0 {
		return w.bad(w.at.path(), fmt.Errorf("contents: %d bytes of the entry's size are missing", w.left))
	}
	if err := w.add(zeros[:w.pad]); err != nil {
		return err
	}
	return w.closeNode()
}

var zeros [8]byte

func (w *Writer) closeDirectory() error {
	w.at.leave()
	return w.closeNode()
}

// closeNode writes the ")" of a node and, below the root, that of its entry.
func (w *Writer) closeNode() error {
	w.state = rootWritten
	if w.at.dirs() > 0 {
		w.state = inDirectory
		if err := w.add(tokClose); err != nil {
			return err
		}
	}
	return w.add(tokClose)
}

func (w *Writer) addLength(n int64) error {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(n))
	return w.add(b[:])
}

func (w *Writer) addString(s []byte) error {
	if err := w.addLength(int64(len(s))); err != nil {
		return err
	}
	if err := w.add(s); err != nil {
		return err
	}
	return w.add(zeros[:padding(int64(len(s)))])
}

// add buffers p, and passes on full buffers.
func (w *Writer) add(p []byte) error {
	if w.buf == nil {
		w.buf = make([]byte, 0, bufferSize)
	}
	for len(p) > cap(w.buf)-len(w.buf) {
		n := cap(w.buf) - len(w.buf)
		w.buf = append(w.buf, p[:n]...)
		p = p[n:]
		if err := w.flush(); err != nil {
			return err
		}
	}
	w.buf = append(w.buf, p...)
	return nil
}

func (w *Writer) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	err := w.output(w.buf)
	w.buf = w.buf[:0]
	return err
}

func (w *Writer) output(p []byte) error {
	n, err := w.w.Write(p)
	w.off += int64(n)
	if err == nil && n != len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return fmt.Errorf("nar: write: offset %d: %w", w.off, err)
	}
	return nil
}

// fail keeps err, so that every later call returns it too.
func (w *Writer) fail(err error) error {
	w.err = err
	return err
}

func (w *Writer) bad(path string, err error) error {
	return &FormatError{Op: "write", Path: path, Offset: w.Offset(), Err: err}
}

// An OrderError is an entry whose name does not come after the one before it
// in its directory.
type OrderError struct{ Name, Last string }

func (e *OrderError) Error() string {
	if e.Name == e.Last {
		return fmt.Sprintf("name given twice: %q", e.Name)
	}
	return fmt.Sprintf("names out of order: %q after %q", e.Name, e.Last)
}
