package nar

import (
	"fmt"
	"io"

	nixnar "github.com/nix-community/go-nix/pkg/nar"
)

// A Reader reads one archive entry by entry, in the archive's order. It checks everything that the package comment
// states, and starts no goroutine. It reads ahead of the caller by up to 512 KiB.
//
// After an error every method returns the same error. An archive that ends early is an [io.ErrUnexpectedEOF] inside a
// [FormatError]. Next returns [io.EOF] only after the archive's last byte, once it has found that the input ends there
// too.
type Reader struct {
	src    *source
	inside bool // part of a longer stream: more may follow the archive
	moved  bool // names may be in any order
	err    error
	state  readState
	at     trail
	entry  Entry
	left   int64 // contents not yet taken
	pad    int   // zeros that follow the contents
	start  int64 // offset in the stream of the current entry
}

type readState int

const (
	atStart    readState = iota // before the magic
	inNode                      // in a node, before its type and size
	inContents                  // in the contents, or before the padding and the node's end
	afterNode                   // before the ")" of a symlink
	inList                      // in a directory, before an entry or its end
	atEnd                       // after the root's last ")"
)

// NewReader returns a Reader for r, which must contain one archive and nothing else. If r is a [Skipper], Next skips
// large contents without reading them.
func NewReader(r io.Reader) *Reader {
	return &Reader{src: newSource(r)}
}

// Offset returns the number of bytes of the stream that have been taken so far.
func (r *Reader) Offset() int64 { return r.src.offset() }

// EntryOffset returns the offset in the stream of the entry that Next returned last. An entry begins with its token
// "entry", the root after the archive's magic.
func (r *Reader) EntryOffset() int64 { return r.start }

// AnyOrder makes the Reader accept names in any order, and repeated names. It is for an archive that was checked before
// and whose entries have been moved since.
func (r *Reader) AnyOrder() { r.moved = true }

// Path returns the path of the entry that Next returned last, from the archive's root: "/", "/bin", "/bin/sh". It
// allocates, and its cost grows with the depth.
func (r *Reader) Path() string { return r.at.path() }

// EntryPath returns Path in a form that is cheap to keep. It allocates once for each directory, and takes time
// proportional to the number of new directories.
func (r *Reader) EntryPath() Path { return r.at.entry() }

// Header returns the entry that Next returned last as go-nix's type.
func (r *Reader) Header() *nixnar.Header {
	return &nixnar.Header{
		Path:       r.at.path(),
		Type:       r.entry.Type,
		LinkTarget: string(r.entry.Target),
		Size:       r.entry.Size,
		Executable: r.entry.Executable,
	}
}

// Next skips the rest of the current entry's contents and returns the next entry, or io.EOF after the last. The entry and
// its slices, which lie in the Reader's buffer, are valid until the next call of any method that reads. The caller may
// change the slices' bytes.
func (r *Reader) Next() (*Entry, error) {
	if r.err != nil {
		return nil, r.err
	}
	if err := r.next(); err != nil {
		return nil, r.fail(err)
	}
	return &r.entry, nil
}

// Peek returns the contents of the current file that are in the buffer and not yet taken. It reads until there are at
// least n bytes (at most 64 KiB), or fewer and io.EOF at the end of the contents. The slice is valid until the next call
// of any method that reads, and the caller may change its bytes.
func (r *Reader) Peek(n int) ([]byte, error) {
	if r.err != nil {
		return nil, r.err
	}
	n = min(n, maxPeek, r.src.size/4)
	var end error
	if int64(n) > r.left {
		n, end = int(r.left), io.EOF
	}
	if err := r.src.need(n); err != nil {
		return nil, r.fail(r.src.truncated(0, "contents", err))
	}
	m := int(min(int64(r.src.end-r.src.pos), r.left))
	return r.src.buf[r.src.pos : r.src.pos+m : r.src.pos+m], end
}

// Discard takes n bytes that Peek returned.
func (r *Reader) Discard(n int) {
	if n < 0 || n > r.src.end-r.src.pos || int64(n) > r.left {
		panic("nar: Discard of more than Peek returned")
	}
	r.src.pos += n
	r.left -= int64(n)
}

// Remaining returns the number of bytes of the current file's contents that have not been taken.
func (r *Reader) Remaining() int64 { return r.left }

// Read reads the current file's contents, and returns io.EOF at their end. If p has 64 KiB or more, Read may bypass the
// Reader's buffer.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, r.err
	}
	if r.err == nil && int64(len(p)) > r.left {
		p = p[:r.left]
	}
	if r.err == nil && len(p) >= min(maxPeek, r.src.size/4) && r.src.direct() {
		n, err := r.src.readInto(p)
		r.left -= int64(n)
		if err != nil {
			err = r.fail(r.src.truncated(0, "contents", err))
		}
		return n, err
	}
	b, err := r.Peek(1)
	if err != nil {
		return 0, err
	}
	n := copy(p, b)
	r.Discard(n)
	return n, nil
}

// fail adds the path of the entry to err and keeps it for all later calls.
func (r *Reader) fail(err error) error {
	if bad, ok := err.(*FormatError); ok {
		switch r.state {
		case atStart, atEnd:
		case inList:
			bad.Path = r.at.dir()
		default:
			bad.Path = r.at.path()
		}
	}
	r.err = err
	return err
}

func (r *Reader) next() error {
	switch r.state {
	case atStart:
		if err := r.src.expect(0, tokMagic, `the archive's magic "nix-archive-1"`); err != nil {
			return err
		}
		r.src.pos += len(tokMagic)
		r.state = inNode
		return r.node(0)
	case inContents:
		if err := r.endContents(); err != nil {
			return err
		}
		if err := r.closeNode(); err != nil {
			return err
		}
	case afterNode:
		if err := r.closeNode(); err != nil {
			return err
		}
	}
	for r.at.dirs() > 0 {
		if !r.src.match(0, tokClose) {
			return r.child()
		}
		r.at.leave()
		r.state = afterNode
		if err := r.closeNode(); err != nil {
			return err
		}
	}
	r.state = atEnd
	if r.inside {
		return io.EOF
	}
	err := r.src.checkEnd("the archive")
	if err == io.EOF {
		r.src.release()
	}
	return err
}

// child reads an entry of the innermost directory.
func (r *Reader) child() error {
	if err := r.src.expect(0, tokEntry, `"entry" "(" "name", or ")"`); err != nil {
		return err
	}
	c := len(tokEntry)
	n, err := r.src.length(c, "the name's length")
	if err != nil {
		return err
	}
	if n > MaxName {
		return r.src.bad(c, fmt.Errorf("name has %d bytes, at most %d are allowed", n, MaxName))
	}
	name, err := r.src.str(c+8, int(n), "name")
	if err != nil {
		return err
	}
	if err := checkName(name); err != nil {
		return r.src.bad(c+8, fmt.Errorf("%w: %q", err, name))
	}
	r.state = inNode
	if err := r.at.list(name); err != nil && !r.moved {
		return r.src.bad(c+8, err)
	}
	c += 8 + int(n) + padding(int64(n))
	if err := r.src.expect(c, tokEntryNode, `"node"`); err != nil {
		return err
	}
	return r.node(c + len(tokEntryNode))
}

// node reads a node up to its contents or its first entry. The node starts c bytes after the bytes taken. The name of
// an entry precedes it and stays in the buffer until the node has been read.
func (r *Reader) node(c int) error {
	named := c > 0
	if err := r.src.expect(c, tokNode, `"(" "type"`); err != nil {
		return err
	}
	c += len(tokNode)
	r.entry = Entry{Depth: r.at.dirs()}
	switch {
	case r.src.match(c, tokRegular):
		c += len(tokRegular)
		r.entry.Type = TypeRegular
		if r.src.match(c, tokExecutable[:lenExecutable]) {
			if err := r.src.expect(c, tokExecutable, `"" after "executable"`); err != nil {
				return err
			}
			c += len(tokExecutable)
			r.entry.Executable = true
		}
		if err := r.src.expect(c, tokContents, `"executable" or "contents"`); err != nil {
			return err
		}
		c += len(tokContents)
		n, err := r.src.length(c, "the contents' length")
		if err != nil {
			return err
		}
		if n > maxSize {
			return r.src.bad(c, fmt.Errorf("contents of %d bytes, more than a file can have", n))
		}
		c += 8
		r.entry.Size = int64(n)
		r.left, r.pad = int64(n), padding(int64(n))
		r.state = inContents
	case r.src.match(c, tokSymlink):
		c += len(tokSymlink)
		r.entry.Type = TypeSymlink
		if err := r.src.expect(c, tokTarget, `"target"`); err != nil {
			return err
		}
		c += len(tokTarget)
		n, err := r.src.length(c, "the target's length")
		if err != nil {
			return err
		}
		if n > MaxTarget {
			return r.src.bad(c, fmt.Errorf("target has %d bytes, at most %d are allowed", n, MaxTarget))
		}
		c += 8
		target, err := r.src.str(c, int(n), "target")
		if err != nil {
			return err
		}
		if err := checkTarget(target); err != nil {
			return r.src.bad(c, err)
		}
		c += int(n) + padding(int64(n))
		r.entry.Target = target
		r.state = afterNode
	case r.src.match(c, tokDirectory):
		c += len(tokDirectory)
		r.entry.Type = TypeDirectory
		if r.at.dirs() == MaxDepth {
			return r.src.bad(c, fmt.Errorf("more than %d nested directories", MaxDepth))
		}
		r.state = inList
	default:
		return r.src.expect(c, tokRegular, `"regular", "symlink" or "directory"`)
	}
	r.start = r.src.offset()
	// The buffer does not move from here on.
	if named {
		start := r.src.pos + len(tokEntry) + 8
		r.entry.Name = r.src.buf[start : start+len(r.at.last()) : start+len(r.at.last())]
	}
	if r.entry.Type == TypeDirectory {
		r.at.enter()
	}
	r.src.pos += c
	return nil
}

// endContents skips the rest of the contents and checks their padding.
func (r *Reader) endContents() error {
	if r.left > 0 {
		n := r.left
		r.left = 0
		if err := r.src.skip(n); err != nil {
			return r.src.truncated(0, "contents", err)
		}
	}
	if err := r.src.need(r.pad); err != nil {
		return r.src.truncated(0, "padding", err)
	}
	for i, b := range r.src.buf[r.src.pos : r.src.pos+r.pad] {
		if b != 0 {
			return r.src.bad(i, fmt.Errorf("padding: want zeros, got byte %#02x", b))
		}
	}
	r.src.pos += r.pad
	r.pad = 0
	return nil
}

// closeNode takes the ")" of a node and, except for the root, that of its entry.
func (r *Reader) closeNode() error {
	want := tokClose
	if r.at.dirs() > 0 {
		want = tokCloseEntry
	}
	if err := r.src.expect(0, want, `")"`); err != nil {
		return err
	}
	r.src.pos += len(want)
	r.state = inList
	return nil
}
