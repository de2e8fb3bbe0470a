package nar

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"

	nixnar "github.com/nix-community/go-nix/pkg/nar"
)

// maxHead is more than the length of an entry up to its contents, including a symlink's target, and more than the
// length of the tokens between two entries.
const maxHead = MaxName + MaxTarget + 512

// A Writer writes one archive entry by entry. It buffers up to 256 KiB, starts no goroutine, and checks everything that
// the package comment states: it never writes a malformed archive, but fails. Only Close writes the last bytes of an
// archive, so the output of a Writer that is not closed, or has failed, is never a complete archive. After an error every
// method returns the same error.
type Writer struct {
	sink   *sink
	inside bool // part of a longer stream, which flushes the buffer
	err    error
	at     trail
	left   int64 // contents still to come
	pad    int   // zeros that follow the contents
	state  writeState
	from   *Reader // passes on what it reads; nil: everything is encoded here

	deferring []*deferred // deferred entries that are being written to their spill, outermost first
	waiting   waiting     // complete deferred entries that wait for their place
	spillBuf  []byte      // the buffer in front of a Spill, while no Spill is written to
	lasts     []byte      // the names before those in deferring, in their directories
	free      []*deferred // for reuse

	store        SpillStore // nil: nothing is parked
	completed    int        // deferred entries since some were parked last
	pendingNotes []*notes   // those with bytes to be written, pending in total
	pending      int
	copies       int    // parked entries in ones that stay in memory
	copyBuf      []byte // for parked entries
}

type writeState int

const (
	beforeRoot writeState = iota
	inFile                // in the contents of a regular file
	inDirectory
	rootWritten // nothing more may be added
	closed
)

// NewWriter returns a Writer that writes an archive to w.
func NewWriter(w io.Writer) *Writer {
	return &Writer{sink: newSink(w)}
}

// Offset returns the number of bytes of the stream that have been written so far, including those in the buffer and
// without deferred entries.
func (w *Writer) Offset() int64 {
	if len(w.deferring) > 0 {
		return w.deferring[0].outer.offset()
	}
	if w.passing() {
		s := w.from.src
		return w.sink.offset() + int64(s.pos-s.mark)
	}
	return w.sink.offset()
}

// WriteEntry begins an entry. It closes the directories that are deeper than e.Depth; nothing more can be added to those.
// The Size bytes of a regular file's contents follow by Write. The Writer does not keep e.
func (w *Writer) WriteEntry(e *Entry) error {
	if w.err != nil {
		return w.err
	}
	if err := w.entry(e); err != nil {
		return w.failEntry(err)
	}
	return nil
}

// WriteHeader is WriteEntry for go-nix's type, which has the full path of an entry. The entry's directory must be open.
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
		if e.Depth > w.at.dirs() || w.at.join(e.Depth-1) != cmp.Or(dir, "/") {
			return w.fail(w.bad(h.Path, fmt.Errorf("directory %q is not open", dir)))
		}
	}
	return w.WriteEntry(&e)
}

// Write adds to the contents of the file that WriteEntry or WriteEntryDeferred began.
func (w *Writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if more := int64(len(p)) - w.left; more > 0 {
		return 0, w.fail(w.bad(w.at.path(), fmt.Errorf("contents: %d bytes more than the entry's size", more)))
	}
	if w.passing() {
		if !w.from.src.isNext(p) {
			return 0, w.fail(w.bad(w.at.path(), errors.New("contents: the bytes differ from those that the Reader returned")))
		}
	} else if err := w.sink.contents(p); err != nil {
		return 0, w.fail(err)
	}
	w.left -= int64(len(p))
	return len(p), nil
}

// Close ends the archive and flushes the buffer. It fails if the archive is not complete. It does not close the output.
func (w *Writer) Close() error {
	if w.err != nil || w.state == closed {
		return w.err
	}
	if err := w.finish(); err != nil {
		return w.fail(err)
	}
	w.state = closed
	return nil
}

func (w *Writer) finish() error {
	if w.state == beforeRoot {
		return w.bad("", errors.New("close: no entry was written"))
	}
	if err := w.endFile(); err != nil {
		return err
	}
	if err := w.leaveTo(0); err != nil || w.inside {
		return err
	}
	if err := w.finishPassthrough(); err != nil {
		return err
	}
	return w.sink.flush()
}

func (w *Writer) entry(e *Entry) error {
	if err := w.place(e); err != nil {
		return err
	}
	if w.state != beforeRoot {
		if err := w.writeDeferred(e.Depth, e.Name); err != nil {
			return err
		}
		if err := w.at.list(e.Name); err != nil {
			return w.bad(w.at.path(), err)
		}
	}
	return w.node(e)
}

// place ends the entry before e, and checks that e can follow.
func (w *Writer) place(e *Entry) error {
	if err := w.endFile(); err != nil {
		return err
	}
	if w.state == beforeRoot {
		if e.Depth != 0 || len(e.Name) > 0 {
			return w.bad("", fmt.Errorf("the first entry must be the root, of depth 0 and without a name, got depth %d and name %q", e.Depth, e.Name))
		}
		return nil
	}
	if e.Depth < 1 || e.Depth > w.at.dirs() {
		return w.bad("", fmt.Errorf("entry %q has depth %d, but %d directories are open", e.Name, e.Depth, w.at.dirs()))
	}
	if err := w.leaveTo(e.Depth); err != nil {
		return err
	}
	if err := w.endDeferred(e.Depth); err != nil {
		return err
	}
	if err := checkName(e.Name); err != nil {
		return w.bad(w.at.dir(), fmt.Errorf("%w: %q", err, e.Name))
	}
	return nil
}

// node writes an entry up to its contents or its first entry.
func (w *Writer) node(e *Entry) error {
	if err := w.checkNode(e); err != nil {
		return w.bad(w.at.path(), err)
	}
	if w.from == nil {
		if err := w.encode(e); err != nil {
			return err
		}
	}
	switch e.Type {
	case TypeRegular:
		w.state, w.left, w.pad = inFile, e.Size, padding(e.Size)
	case TypeSymlink:
		w.closeNode()
	case TypeDirectory:
		w.at.enter()
		w.state = inDirectory
	}
	return nil
}

// encode puts an entry into the buffer up to its contents, its first entry or the node's end.
func (w *Writer) encode(e *Entry) error {
	if err := w.sink.reserve(maxHead); err != nil {
		return err
	}
	if w.state == beforeRoot {
		w.sink.add(tokMagic)
	} else {
		w.sink.add(tokEntry)
		w.sink.str(e.Name)
		w.sink.add(tokEntryNode)
	}
	w.sink.add(tokNode)
	switch e.Type {
	case TypeRegular:
		w.sink.add(tokRegular)
		if e.Executable {
			w.sink.add(tokExecutable)
		}
		w.sink.add(tokContents)
		w.sink.number(uint64(e.Size))
	case TypeSymlink:
		w.sink.add(tokSymlink)
		w.sink.add(tokTarget)
		w.sink.str(e.Target)
	case TypeDirectory:
		w.sink.add(tokDirectory)
	}
	return nil
}

// checkNode returns why e cannot be written, or nil. place has checked its name and depth.
func (w *Writer) checkNode(e *Entry) error {
	switch e.Type {
	case TypeRegular:
		if e.Size < 0 {
			return fmt.Errorf("size %d is negative", e.Size)
		}
		if e.Size > maxSize {
			return fmt.Errorf("contents of %d bytes, more than a file can have", e.Size)
		}
	case TypeSymlink:
		if err := checkTarget(e.Target); err != nil {
			return err
		}
	case TypeDirectory:
		if w.at.dirs() == MaxDepth {
			return fmt.Errorf("more than %d nested directories", MaxDepth)
		}
	default:
		return fmt.Errorf("unknown type %q", e.Type)
	}
	if e.Type != TypeRegular && (e.Size != 0 || e.Executable) {
		return fmt.Errorf("a %s has neither contents nor an executable flag", e.Type)
	}
	if e.Type != TypeSymlink && len(e.Target) > 0 {
		return fmt.Errorf("a %s has no target", e.Type)
	}
	return nil
}

// endFile ends the contents of a regular file, if the Writer is in one.
func (w *Writer) endFile() error {
	if w.state != inFile {
		return nil
	}
	if w.left > 0 {
		return w.bad(w.at.path(), fmt.Errorf("contents: %d bytes of the entry's size are missing", w.left))
	}
	if w.from == nil {
		if err := w.sink.reserve(maxHead); err != nil {
			return err
		}
		w.sink.zeros(w.pad)
	}
	w.closeNode()
	return nil
}

// leaveTo closes directories until depth are open.
func (w *Writer) leaveTo(depth int) error {
	for w.at.dirs() > depth {
		if err := w.endDeferred(w.at.dirs()); err != nil {
			return err
		}
		if err := w.writeDeferred(w.at.dirs(), nil); err != nil {
			return err
		}
		if w.from == nil {
			if err := w.sink.reserve(maxHead); err != nil {
				return err
			}
		}
		w.at.leave()
		w.closeNode()
	}
	return nil
}

// closeNode writes the ")" of a node and, except for the root, that of its entry.
func (w *Writer) closeNode() {
	token := tokCloseEntry
	w.state = inDirectory
	if w.at.dirs() == 0 {
		token, w.state = tokClose, rootWritten
	}
	if w.from == nil {
		w.sink.add(token)
	}
}

// failEntry is fail for an entry. In a passthrough its head has been taken already, so the entry begins before the offset.
func (w *Writer) failEntry(err error) error {
	if bad, ok := err.(*FormatError); ok && w.from != nil {
		bad.Offset = w.from.start
	}
	return w.fail(err)
}

// fail keeps err for all later calls.
func (w *Writer) fail(err error) error {
	w.err = err
	return err
}

func (w *Writer) bad(path string, err error) error {
	return &FormatError{Op: "write", Path: path, Offset: w.Offset(), Err: err}
}
