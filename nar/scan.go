package nar

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Fixed runs of tokens. Comparing them whole is what makes small entries cheap.
var (
	tokMagic      = tokens("nix-archive-1")
	tokNode       = tokens("(", "type")
	tokRegular    = tokens("regular")
	tokExecutable = tokens("executable", "")
	tokContents   = tokens("contents")
	tokSymlink    = tokens("symlink")
	tokTarget     = tokens("target")
	tokDirectory  = tokens("directory")
	tokEntry      = tokens("entry", "(", "name")
	tokEntryNode  = tokens("node")
	tokClose      = tokens(")")
	tokCloseEntry = tokens(")", ")")
)

// lenExecutable is the first string of tokExecutable alone.
var lenExecutable = len(tokens("executable"))

// tokens encodes strings as they stand in an archive.
func tokens(ss ...string) []byte {
	var b []byte
	for _, s := range ss {
		b = binary.LittleEndian.AppendUint64(b, uint64(len(s)))
		b = append(b, s...)
		b = append(b, make([]byte, padding(int64(len(s))))...)
	}
	return b
}

// padding is the number of zeros after a string of n bytes.
func padding(n int64) int { return int(-n & 7) }

// maxToken is the longest string that Nix reads as a tag.
const maxToken = 32

// match tells whether want lies c bytes after what was taken. A shortage of
// bytes is no match: expect, which always follows, tells it.
func (r *Reader) match(c int, want []byte) bool {
	if r.src.end-r.src.pos < c+len(want) && r.src.need(c+len(want)) != nil {
		return false
	}
	p := r.src.pos + c
	return string(r.src.buf[p:p+len(want)]) == string(want)
}

// expect fails unless want lies c bytes after what was taken.
func (r *Reader) expect(c int, want []byte, what string) error {
	if r.match(c, want) {
		return nil
	}
	// Walk the tokens up to the one that differs, to say what came.
	for len(want) > 0 {
		n := 8 + int(want[0]) + padding(int64(want[0]))
		if !r.match(c, want[:n]) {
			break
		}
		c, want = c+n, want[n:]
	}
	n, err := r.length(c, what)
	if err != nil {
		return err
	}
	if n > maxToken {
		return r.bad(c, fmt.Errorf("want %s, got a string of %d bytes", what, n))
	}
	got, err := r.str(c+8, int(n), what)
	if err != nil {
		return err
	}
	return r.bad(c, fmt.Errorf("want %s, got %q", what, got))
}

// length reads a string's length, c bytes after what was taken.
func (r *Reader) length(c int, what string) (uint64, error) {
	if err := r.src.need(c + 8); err != nil {
		return 0, r.truncated(c, what, err)
	}
	return binary.LittleEndian.Uint64(r.src.buf[r.src.pos+c:]), nil
}

// str reads a short string's n bytes and its padding.
func (r *Reader) str(c, n int, what string) ([]byte, error) {
	padded := n + padding(int64(n))
	if err := r.src.need(c + padded); err != nil {
		return nil, r.truncated(c, what, err)
	}
	b := r.src.buf[r.src.pos+c : r.src.pos+c+padded]
	for i, x := range b[n:] {
		if x != 0 {
			return nil, r.bad(c+n+i, fmt.Errorf("padding after %s: want zeros, got byte %#02x", what, x))
		}
	}
	return b[:n:n], nil
}

// truncated makes err, the source's, an error that says what was wanted.
func (r *Reader) truncated(c int, what string, err error) error {
	if err == io.EOF {
		return r.badAt(r.src.base+int64(r.src.end), fmt.Errorf("want %s, but the archive ends here: %w", what, io.ErrUnexpectedEOF))
	}
	return r.bad(c, fmt.Errorf("want %s: %w", what, err))
}

func (r *Reader) bad(c int, err error) error {
	return r.badAt(r.src.offset()+int64(c), err)
}

func (r *Reader) badAt(offset int64, err error) error {
	var path string
	switch r.state {
	case atStart, atEnd:
	case inList:
		path = r.at.dir()
	default:
		path = r.at.path()
	}
	return &FormatError{Op: "read", Path: path, Offset: offset, Err: err}
}
