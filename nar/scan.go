package nar

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Fixed runs of tokens. Each run is compared at once, which makes small entries cheap.
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

// lenExecutable is the length of the first string of tokExecutable.
var lenExecutable = len(tokens("executable"))

// tokens encodes strings as an archive does.
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

// maxToken is the length of the longest string that Nix reads as a tag.
const maxToken = 32

// match reports whether want lies c bytes after the bytes taken. If the input ends before that, it does not match, and
// the call of expect that always follows returns the error.
func (s *source) match(c int, want []byte) bool {
	if s.end-s.pos < c+len(want) && s.need(c+len(want)) != nil {
		return false
	}
	p := s.pos + c
	return string(s.buf[p:p+len(want)]) == string(want)
}

// expect returns an error unless want lies c bytes after the bytes taken.
func (s *source) expect(c int, want []byte, what string) error {
	if s.match(c, want) {
		return nil
	}
	// Find the token that differs, for the error message.
	for len(want) > 0 {
		n := 8 + int(want[0]) + padding(int64(want[0]))
		if !s.match(c, want[:n]) {
			break
		}
		c, want = c+n, want[n:]
	}
	n, err := s.length(c, what)
	if err != nil {
		return err
	}
	if n > maxToken && s.offset() == 0 {
		return s.bad(c, fmt.Errorf("want %s, the input begins with %q", what, s.buf[s.pos:s.pos+8]))
	}
	if n > maxToken {
		return s.bad(c, fmt.Errorf("want %s, got a string of %d bytes", what, n))
	}
	got, err := s.str(c+8, int(n), what)
	if err != nil {
		return err
	}
	return s.bad(c, fmt.Errorf("want %s, got %q", what, got))
}

// length returns a string's length, c bytes after the bytes taken.
func (s *source) length(c int, what string) (uint64, error) {
	if err := s.need(c + 8); err != nil {
		return 0, s.truncated(c, what, err)
	}
	return binary.LittleEndian.Uint64(s.buf[s.pos+c:]), nil
}

// str returns a short string of n bytes, c bytes after the bytes taken, and checks its padding.
func (s *source) str(c, n int, what string) ([]byte, error) {
	padded := n + padding(int64(n))
	if err := s.need(c + padded); err != nil {
		return nil, s.truncated(c, what, err)
	}
	b := s.buf[s.pos+c : s.pos+c+padded]
	for i, x := range b[n:] {
		if x != 0 {
			return nil, s.bad(c+n+i, fmt.Errorf("padding after %s: want zeros, got byte %#02x", what, x))
		}
	}
	return b[:n:n], nil
}

// truncated adds to err, an error of the source, what was wanted.
func (s *source) truncated(c int, what string, err error) error {
	if p, ok := err.(*passError); ok {
		return p.error
	}
	if err == io.EOF {
		return s.badAt(s.base+int64(s.end), fmt.Errorf("want %s, but the input ends here: %w", what, io.ErrUnexpectedEOF))
	}
	return s.bad(c, fmt.Errorf("want %s: %w", what, err))
}

// checkEnd returns io.EOF if the input ends here, after what, and another error if it does not.
func (s *source) checkEnd(what string) error {
	switch err := s.need(1); {
	case err == io.EOF:
		return io.EOF
	case err != nil:
		if p, ok := err.(*passError); ok {
			return p.error
		}
		return s.bad(0, fmt.Errorf("after %s: %w", what, err))
	default:
		return s.bad(0, fmt.Errorf("want the end of the input after %s, got more bytes", what))
	}
}

func (s *source) bad(c int, err error) error {
	return s.badAt(s.offset()+int64(c), err)
}

func (s *source) badAt(offset int64, err error) error {
	return &FormatError{Op: "read", Offset: offset, Err: err}
}
