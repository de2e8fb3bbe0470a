package listing

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Limits for a listing (HASH.ls). With them, reading one takes at most 4 MiB of memory.
const (
	MaxSize   = 256 << 20 // bytes of its text
	maxString = 32 << 10  // bytes of a string in the text, such as an escaped target of 4,095 bytes
	maxName   = 255       // bytes of an entry's name
	maxDepth  = 1 << 15   // open objects and arrays; a directory is two objects
)

// A renamer applies rules to the listing of a NAR as a stream. A listing is JSON. It has the type, size, target and
// contents' offset of each entry of a NAR:
//
//	{"version":1,"root":{"type":"directory","entries":{"NAME":{"type":"regular","size":3,"narOffset":400}, …}}}
//
// The rules do not change lengths, so only strings change. Offsets would change if an entry moved among its siblings.
// In that case, moved is set, and also if the entries of a directory are not sorted by name, as they are in the NAR.
type renamer struct {
	r       *bufio.Reader
	w       *bufio.Writer
	rename  func(string) string
	stack   []frame
	buf     []byte // of a string
	changed bool
	moved   error
}

// A frame is an open object or array.
type frame struct {
	end  byte // '}' or ']'
	role role
	last [2]string
}

// A role is the meaning of a value in a listing.
type role byte

const (
	isOther role = iota
	isTop
	isNode    // an entry
	isEntries // the entries of a directory
)

// Rename copies a listing from r to w with the rules applied, and reports whether they changed anything.
func Rename(w io.Writer, r io.Reader, rename func(string) string) (changed bool, err error) {
	l := &renamer{r: bufio.NewReader(r), w: bufio.NewWriter(w), rename: rename}
	if err := l.run(); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return false, err
	}
	if l.changed && l.moved != nil {
		return false, l.moved
	}
	return l.changed, l.w.Flush()
}

// run reads one value with all nested values.
func (l *renamer) run() error {
	if err := l.value(isTop); err != nil {
		return err
	}
	for len(l.stack) > 0 {
		f := &l.stack[len(l.stack)-1]
		c, err := l.token()
		if err != nil {
			return err
		}
		if c == f.end {
			l.stack = l.stack[:len(l.stack)-1]
			continue
		}
		if c != ',' {
			return unexpected(c)
		}
		if err := l.member(); err != nil {
			return err
		}
	}
	if c, err := l.token(); err != io.EOF {
		if err == nil {
			err = unexpected(c)
		}
		return err
	}
	return nil
}

// value reads a string, number or literal, or the beginning of an object or array up to its first comma or its end.
func (l *renamer) value(role role) error {
	c, err := l.token()
	if err != nil {
		return err
	}
	for {
		switch c {
		case '"':
			_, err := l.str()
			return err
		case '{', '[':
			if len(l.stack) == maxDepth {
				return fmt.Errorf("more than %d levels", maxDepth)
			}
			f := frame{end: '}', role: role}
			if c == '[' {
				f = frame{end: ']'}
			}
			l.stack = append(l.stack, f)
			if c, err = l.token(); err != nil {
				return err
			}
			if c == f.end {
				l.stack = l.stack[:len(l.stack)-1]
				return nil
			}
			if f.end == '}' {
				if c != '"' {
					return unexpected(c)
				}
				if role, err = l.key(); err != nil {
					return err
				}
				if c, err = l.token(); err != nil {
					return err
				}
			} else {
				role = isOther
			}
		default:
			return l.literal(c)
		}
	}
}

// member reads the next member or element after a comma.
func (l *renamer) member() error {
	if l.stack[len(l.stack)-1].end == ']' {
		return l.value(isOther)
	}
	c, err := l.token()
	if err != nil {
		return err
	}
	if c != '"' {
		return unexpected(c)
	}
	role, err := l.key()
	if err != nil {
		return err
	}
	return l.value(role)
}

// key reads a key, whose first quote was already read, and its colon. It returns the role of the value.
func (l *renamer) key() (role, error) {
	names, err := l.str()
	if err != nil {
		return 0, err
	}
	c, err := l.token()
	if err != nil {
		return 0, err
	}
	if c != ':' {
		return 0, unexpected(c)
	}
	f := &l.stack[len(l.stack)-1]
	switch {
	case f.role == isTop && names[0] == "root":
		return isNode, nil
	case f.role == isNode && names[0] == "entries":
		return isEntries, nil
	case f.role == isEntries:
		return isNode, l.order(f, names)
	}
	return isOther, nil
}

// order compares the old and the new name of an entry with those of the entry before it.
func (l *renamer) order(f *frame, names [2]string) error {
	if len(names[0]) > maxName {
		return fmt.Errorf("a name of %d bytes, at most %d are allowed", len(names[0]), maxName)
	}
	switch {
	case names[0] <= f.last[0] && f.last[0] != "":
		l.moved = errors.New("the entries of a directory are not in order")
	case names[1] <= f.last[1] && f.last[1] != "" && l.moved == nil:
		l.moved = errors.New("entries have moved in the NAR")
	}
	f.last = [2]string{strings.Clone(names[0]), strings.Clone(names[1])}
	return nil
}

// str reads a string, whose first quote was already read, and writes it with the rules applied. It returns the old and
// the new string.
func (l *renamer) str() (names [2]string, err error) {
	b := l.buf[:0]
	defer func() { l.buf = b }()
	for {
		c, err := l.r.ReadByte()
		if err != nil {
			return names, err
		}
		if c == '"' {
			break
		}
		if c < ' ' {
			return names, unexpected(c)
		}
		b = append(b, c)
		if c == '\\' { // the next byte does not end the string
			if c, err = l.r.ReadByte(); err != nil {
				return names, err
			}
			b = append(b, c)
		}
		if len(b) > maxString {
			return names, fmt.Errorf("a string of more than %d bytes", maxString)
		}
	}
	text := string(b)
	renamed := l.rename(text)
	if _, err := l.w.WriteString(renamed); err != nil {
		return names, err
	}
	if err := l.w.WriteByte('"'); err != nil {
		return names, err
	}
	if names[0], err = unquote(text); err != nil {
		return names, err
	}
	if names[1] = names[0]; renamed != text {
		l.changed = true
		if names[1], err = unquote(renamed); err != nil || len(renamed) != len(text) {
			return names, errors.New("the rules break it")
		}
	}
	return names, nil
}

func unquote(text string) (s string, err error) {
	if !strings.ContainsAny(text, "\\\"") {
		return text, nil
	}
	err = json.Unmarshal([]byte(`"`+text+`"`), &s)
	return s, err
}

// literal reads a value that begins with c and is not a string, object or array.
func (l *renamer) literal(c byte) error {
	const longest = 40
	b := []byte{c}
	for {
		next, err := l.r.Peek(1)
		if err != nil && err != io.EOF {
			return err
		}
		if err == io.EOF || strings.IndexByte(" \t\r\n,]}", next[0]) >= 0 {
			break
		}
		if len(b) == longest {
			return fmt.Errorf("a literal of more than %d bytes", longest)
		}
		b = append(b, next[0])
		l.r.ReadByte()
		if err := l.w.WriteByte(next[0]); err != nil {
			return err
		}
	}
	if !isCount(b) && !json.Valid(b) {
		return fmt.Errorf("%q is no value", b)
	}
	return nil
}

// isCount reports whether b is a size or an offset in its usual form, like most literals.
func isCount(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return b[0] != '0' || len(b) == 1
}

// token reads and writes bytes up to the next one that is not white space, and returns that.
func (l *renamer) token() (byte, error) {
	for {
		c, err := l.r.ReadByte()
		if err != nil {
			return 0, err
		}
		if err := l.w.WriteByte(c); err != nil {
			return 0, err
		}
		if strings.IndexByte(" \t\r\n", c) < 0 {
			return c, nil
		}
	}
}

func unexpected(c byte) error { return fmt.Errorf("unexpected %q", c) }
