package listing

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"

	nixnar "github.com/nix-community/go-nix/pkg/nar"

	"narseal/nar"
)

// A Style is the order of the members of an object. Nix accepts either.
type Style bool

const (
	Sorted Style = false // sorted by name, as written since Nix 2.10
	Older  Style = true  // the version first, as written by older Nix
)

// StyleOf returns the style of a listing that begins with text.
func StyleOf(text []byte) Style {
	const older = `{"version"`
	return Style(len(text) >= len(older) && string(text[:len(older)]) == older)
}

// Write writes the listing of the NAR in r, and reads the NAR to its end. It returns an error if the name or target of
// an entry is not UTF-8.
func Write(w io.Writer, r io.Reader, style Style) error {
	l := &writer{w: bufio.NewWriter(w), style: style}
	if err := l.run(nar.NewReader(r)); err != nil {
		return err
	}
	return l.w.Flush()
}

type writer struct {
	w     *bufio.Writer // its errors are sticky
	style Style
	depth int  // of open directories
	first bool // no entry was written yet in the innermost directory
}

func (l *writer) run(r *nar.Reader) error {
	begin, end := `{"root":`, `,"version":1}`
	if l.style == Older {
		begin, end = `{"version":1,"root":`, `}`
	}
	l.w.WriteString(begin)
	for {
		e, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		l.leave(e.Depth)
		if e.Depth > 0 {
			if !l.first {
				l.w.WriteByte(',')
			}
			if err := l.string(e.Name); err != nil {
				return fmt.Errorf("the name of %s: %w", r.EntryPath().Short(), err)
			}
			l.w.WriteByte(':')
		}
		l.first = false
		if err := l.entry(e, r.Offset()); err != nil {
			return fmt.Errorf("the target of %s: %w", r.EntryPath().Short(), err)
		}
	}
	l.leave(0)
	_, err := l.w.WriteString(end)
	return err
}

// leave closes the directories deeper than depth.
func (l *writer) leave(depth int) {
	for ; l.depth > depth; l.depth-- {
		if l.style == Older {
			l.w.WriteString(`}}`)
		} else {
			l.w.WriteString(`},"type":"directory"}`)
		}
		l.first = false
	}
}

// entry writes an entry, or the beginning of a directory. offset is the offset of a file's contents in the NAR, in
// bytes.
func (l *writer) entry(e *nar.Entry, offset int64) (err error) {
	executable := ""
	switch e.Type {
	case nixnar.TypeDirectory:
		if l.style == Older {
			l.w.WriteString(`{"type":"directory","entries":{`)
		} else {
			l.w.WriteString(`{"entries":{`)
		}
		l.depth++
		l.first = true
	case nixnar.TypeSymlink:
		if l.style == Older {
			l.w.WriteString(`{"type":"symlink","target":`)
			err = l.string(e.Target)
			l.w.WriteByte('}')
		} else {
			l.w.WriteString(`{"target":`)
			err = l.string(e.Target)
			l.w.WriteString(`,"type":"symlink"}`)
		}
	default:
		if l.style == Older {
			if e.Executable {
				executable = `"executable":true,`
			}
			fmt.Fprintf(l.w, `{"type":"regular","size":%d,%s"narOffset":%d}`, e.Size, executable, offset)
		} else {
			if e.Executable {
				executable = `"executable":true,`
			}
			fmt.Fprintf(l.w, `{%s"narOffset":%d,"size":%d,"type":"regular"}`, executable, offset, e.Size)
		}
	}
	return err
}

var errNotUTF8 = errors.New("not UTF-8, which JSON needs")

// string writes a JSON string. Like Nix, it escapes only the characters that require it.
func (l *writer) string(s []byte) error {
	if !utf8.Valid(s) {
		return errNotUTF8
	}
	l.w.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			l.w.WriteByte('\\')
			l.w.WriteByte(c)
		case c >= ' ':
			l.w.WriteByte(c)
		default:
			l.w.WriteString(escape(c))
		}
	}
	return l.w.WriteByte('"')
}

// escape returns the escape sequence of a control character.
func escape(c byte) string {
	switch c {
	case '\b':
		return `\b`
	case '\f':
		return `\f`
	case '\n':
		return `\n`
	case '\r':
		return `\r`
	case '\t':
		return `\t`
	}
	return `\u00` + strconv.FormatInt(int64(c>>4), 16) + strconv.FormatInt(int64(c&15), 16)
}
