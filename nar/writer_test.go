package nar_test

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	nixnar "github.com/nix-community/go-nix/pkg/nar"

	"narseal/nar"
	"narseal/nar/nartest"
)

func TestWriterHeaders(t *testing.T) {
	eachLarge(t, func(t *testing.T, root nartest.Node, data []byte) {
		if len(data) > 1<<20 {
			t.Skip("full paths this deep take minutes")
		}
		var out bytes.Buffer
		w := nar.NewWriter(&out)
		for _, it := range items(root) {
			if err := w.WriteHeader(&it.Header); err != nil {
				t.Fatal(err)
			}
			// An odd length and the rest, so that the buffer's edges fall anywhere.
			n := min(len(it.contents), 1001)
			for _, part := range []string{it.contents[:n], "", it.contents[n:]} {
				if n, err := io.WriteString(w, part); n != len(part) || err != nil {
					t.Fatalf("Write of %d bytes: %d, %v", len(part), n, err)
				}
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out.Bytes(), data) {
			t.Errorf("got  %.2000q\nwant %.2000q", out.Bytes(), data)
		}
		if w.Offset() != int64(len(data)) {
			t.Errorf("offset %d, want %d", w.Offset(), len(data))
		}
		if err := w.Close(); err != nil {
			t.Errorf("closing again: %v", err)
		}
		if err := w.WriteEntry(&nar.Entry{Type: nixnar.TypeDirectory}); err == nil {
			t.Error("a closed Writer takes another root")
		}
		if !bytes.Equal(out.Bytes(), data) {
			t.Error("that changed the archive")
		}
	})
}

func file(depth int, name string, size int64) *nar.Entry {
	return &nar.Entry{Depth: depth, Name: []byte(name), Type: nixnar.TypeRegular, Size: size}
}

func dir(depth int, name string) *nar.Entry {
	return &nar.Entry{Depth: depth, Name: []byte(name), Type: nixnar.TypeDirectory}
}

func link(depth int, name, target string) *nar.Entry {
	return &nar.Entry{Depth: depth, Name: []byte(name), Type: nixnar.TypeSymlink, Target: []byte(target)}
}

// A call is a call of a Writer: for an entry, a header, contents, or Close.
type call any

type closeCall struct{}

type deferredCall struct{ *nar.Entry }

func do(w *nar.Writer, c call) error {
	switch c := c.(type) {
	case *nar.Entry:
		return w.WriteEntry(c)
	case deferredCall:
		return w.WriteEntryDeferred(c.Entry, new(bytes.Buffer))
	case *nixnar.Header:
		return w.WriteHeader(c)
	case string:
		_, err := io.WriteString(w, c)
		return err
	case closeCall:
		return w.Close()
	}
	panic("no such call")
}

func TestWriterRefuses(t *testing.T) {
	deep := make([]call, nar.MaxDepth+1)
	for i := range deep {
		deep[i] = dir(i, "d")
	}
	deep[0] = dir(0, "")
	for _, c := range []struct {
		name  string
		calls []call // the last of them is refused
		path  string
		want  string
	}{
		{"nothing", []call{closeCall{}}, "", "no entry was written"},
		{"contents before an entry", []call{"x"}, "/", "1 bytes more than the entry's size"},
		{"root with a name", []call{dir(0, "a")}, "", `the first entry must be the root, of depth 0 and without a name, got depth 0 and name "a"`},
		{"root below", []call{dir(1, "")}, "", "got depth 1"},
		{"root at depth -1", []call{dir(-1, "")}, "", "got depth -1"},
		{"two roots", []call{dir(0, ""), dir(0, "")}, "", "depth 0, but 1 directories are open"},
		{"after a root file", []call{file(0, "", 0), file(1, "a", 0)}, "", `entry "a" has depth 1, but 0 directories are open`},
		{"after a root symlink", []call{link(0, "", "t"), file(0, "", 0)}, "", "0 directories are open"},
		{"below a file", []call{dir(0, ""), file(1, "a", 0), file(2, "b", 0)}, "", "depth 2, but 1 directories are open"},
		{"below a symlink", []call{dir(0, ""), link(1, "a", "t"), file(2, "b", 0)}, "", "depth 2"},
		{"two levels down", []call{dir(0, ""), file(2, "b", 0)}, "", "depth 2"},
		{"depth -1", []call{dir(0, ""), file(-1, "b", 0)}, "", "depth -1"},
		{"depth 2^63-1", []call{dir(0, ""), file(math.MaxInt, "b", 0)}, "", "depth 9223372036854775807"},

		{"empty name", []call{dir(0, ""), file(1, "", 0)}, "/", "name is empty"},
		{"name .", []call{dir(0, ""), dir(1, "a"), file(2, ".", 0)}, "/a", `name is "." or ".."`},
		{"name ..", []call{dir(0, ""), file(1, "..", 0)}, "/", `name is "." or ".."`},
		{"name with a slash", []call{dir(0, ""), file(1, "a/b", 0)}, "/", "name contains a slash"},
		{"name with NUL", []call{dir(0, ""), file(1, "a\x00b", 0)}, "/", "name contains a NUL byte"},
		{"name of 256 bytes", []call{dir(0, ""), file(1, strings.Repeat("n", 256), 0)}, "/", "name has 256 bytes"},
		{"name twice", []call{dir(0, ""), file(1, "a", 0), dir(1, "a")}, "/a", `name given twice: "a"`},
		{"order", []call{dir(0, ""), dir(1, "b"), dir(2, "z"), dir(1, "a")}, "/a", `names out of order: "a" after "b"`},

		{"no type", []call{&nar.Entry{}}, "/", `unknown type ""`},
		{"other type", []call{dir(0, ""), &nar.Entry{Depth: 1, Name: []byte("a"), Type: "fifo"}}, "/a", `unknown type "fifo"`},
		{"negative size", []call{file(0, "", -1)}, "/", "size -1 is negative"},
		{"greatest size", []call{file(0, "", math.MaxInt64)}, "/", "contents of 9223372036854775807 bytes"},
		{"directory with a size", []call{&nar.Entry{Type: nixnar.TypeDirectory, Size: 1}}, "/", "a directory has neither contents nor an executable flag"},
		{"executable symlink", []call{&nar.Entry{Type: nixnar.TypeSymlink, Executable: true, Target: []byte("t")}}, "/", "a symlink has neither"},
		{"file with a target", []call{&nar.Entry{Type: nixnar.TypeRegular, Target: []byte("t")}}, "/", "a regular has no target"},
		{"empty target", []call{link(0, "", "")}, "/", "target is empty"},
		{"target with NUL", []call{link(0, "", "a\x00")}, "/", "target contains a NUL byte"},
		{"target of 4096 bytes", []call{link(0, "", strings.Repeat("t", 4096))}, "/", "target has 4096 bytes"},

		{"contents too long", []call{dir(0, ""), file(1, "a", 3), "ab", "cd"}, "/a", "contents: 1 bytes more than the entry's size"},
		{"contents of a directory", []call{dir(0, ""), "x"}, "/", "1 bytes more"},
		{"contents of a symlink", []call{link(0, "", "t"), "x"}, "/", "1 bytes more"},
		{"contents missing before an entry", []call{dir(0, ""), file(1, "a", 3), "ab", file(1, "b", 0)}, "/a", "1 bytes of the entry's size are missing"},
		{"contents missing before the end", []call{file(0, "", 3), "ab", closeCall{}}, "/", "1 bytes of the entry's size are missing"},
		{"too deep", deep, strings.Repeat("/d", nar.MaxDepth), "more than 16384 nested directories"},

		{"header without slash", []call{&nixnar.Header{Path: "a", Type: nixnar.TypeDirectory}}, "a", "does not start with a slash"},
		{"header without path", []call{&nixnar.Header{Type: nixnar.TypeDirectory}}, "", "does not start with a slash"},
		{"header before the root", []call{&nixnar.Header{Path: "/a", Type: nixnar.TypeDirectory}}, "/a", `directory "" is not open`},
		{"header in a directory that is not there", []call{dir(0, ""), &nixnar.Header{Path: "/a/b", Type: nixnar.TypeDirectory}}, "/a/b", `directory "/a" is not open`},
		{"header in a directory that was closed", []call{dir(0, ""), dir(1, "a"), dir(1, "b"), &nixnar.Header{Path: "/a/b", Type: nixnar.TypeDirectory}}, "/a/b", `directory "/a" is not open`},
		{"header with a slash too many", []call{dir(0, ""), dir(1, "a"), &nixnar.Header{Path: "//b", Type: nixnar.TypeDirectory}}, "//b", `directory "/" is not open`},
		{"header with a slash at the end", []call{dir(0, ""), &nixnar.Header{Path: "/a/", Type: nixnar.TypeDirectory}}, "/a/", `directory "/a" is not open`},
		{"header below a file", []call{dir(0, ""), file(1, "a", 0), &nixnar.Header{Path: "/a/b", Type: nixnar.TypeDirectory}}, "/a/b", `directory "/a" is not open`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			w := nar.NewWriter(&out)
			last := len(c.calls) - 1
			for i, call := range c.calls[:last] {
				if err := do(w, call); err != nil {
					t.Fatalf("call %d: %v", i, err)
				}
			}
			err := do(w, c.calls[last])
			var bad *nar.FormatError
			if !errors.As(err, &bad) || bad.Op != "write" || bad.Path != c.path || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %.300v, want path %.100q and %q", err, c.path, c.want)
			}
			if len(err.Error()) > 2000 {
				t.Errorf("a message of %d bytes", len(err.Error()))
			}
			for _, next := range []call{dir(0, ""), dir(1, "z"), "", closeCall{}, &nixnar.Header{Path: "/"}} {
				if again := do(w, next); again != err {
					t.Errorf("then %T gives %v", next, again)
				}
			}
			if _, ok := decode(out.Bytes()); ok {
				t.Error("what was written is a complete archive")
			}
		})
	}
}

// An output that fails at any byte gives a sticky error at that byte.
func TestWriterOutputFails(t *testing.T) {
	full := errors.New("disk full")
	data := nartest.Tree(nartest.Dir{"a": nartest.File(pattern(300 << 10)), "b": nartest.Exec("x"), "c": nartest.File(pattern(70 << 10))})
	for _, limit := range []int{0, 1, 1000, 256<<10 - 1, 256 << 10, 300 << 10, len(data) - 1} {
		for _, short := range []bool{false, true} {
			out := &limited{left: limit, err: full}
			want := full
			if short {
				out.err, want = nil, io.ErrShortWrite
			}
			nr, w := nar.NewReader(bytes.NewReader(data)), nar.NewWriter(out)
			var err error
			for err == nil {
				var e *nar.Entry
				if e, err = nr.Next(); err == io.EOF {
					err = w.Close()
					break
				}
				if err = w.WriteEntry(e); err == nil {
					_, err = io.Copy(w, nr)
				}
			}
			if !errors.Is(err, want) {
				t.Errorf("output of %d bytes: %v, want %v", limit, err, want)
			}
			if again := w.Close(); again == nil || !errors.Is(again, want) {
				t.Errorf("output of %d bytes: Close gives %v", limit, again)
			}
			if !bytes.Equal(out.got, data[:limit]) {
				t.Errorf("output of %d bytes: got other bytes", limit)
			}
		}
	}
	wrong := writeFunc(func(p []byte) (int, error) { return len(p) + 1, nil })
	if err := rewrite(wrong, bytes.NewReader(data)); err == nil || !strings.Contains(err.Error(), "impossible count") {
		t.Errorf("got %v", err)
	}
}

// limited is an output that fails after this many bytes.
type limited struct {
	left int
	err  error
	got  []byte
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.got, l.left = append(l.got, p[:n]...), l.left-n
	if n < len(p) {
		return n, l.err
	}
	return n, nil
}

type writeFunc func([]byte) (int, error)

func (f writeFunc) Write(p []byte) (int, error) { return f(p) }

// What a Writer has written before Close is never a complete archive, wherever the edges of the buffer fall.
func TestWriterKeepsTheEnd(t *testing.T) {
	for size := smallBuffer - 200; size < smallBuffer+200; size++ {
		var out bytes.Buffer
		w := nar.NewWriterSize(&out, smallBuffer)
		// In parts that go through the buffer.
		contents := pattern(size)
		if err := w.WriteEntry(file(0, "", int64(size))); err != nil {
			t.Fatal(err)
		}
		for len(contents) > 0 {
			n := min(len(contents), 1000)
			if _, err := w.Write(contents[:n]); err != nil {
				t.Fatal(err)
			}
			contents = contents[n:]
		}
		if err := w.WriteEntry(file(1, "a", 0)); err == nil {
			t.Fatal("an entry below a file")
		}
		if _, ok := decode(out.Bytes()); ok {
			t.Fatalf("size %d: a failed Writer left a complete archive", size)
		}
	}
}

func TestWriterTreeOfEntries(t *testing.T) {
	var out bytes.Buffer
	w := nar.NewWriter(&out)
	for _, c := range []call{dir(0, ""), dir(1, "a"), dir(2, "b"), dir(3, "c"), file(1, "d", 2), "xy", link(1, "e", "d"), closeCall{}} {
		if err := do(w, c); err != nil {
			t.Fatal(err)
		}
	}
	want := nartest.Tree(nartest.Dir{
		"a": nartest.Dir{"b": nartest.Dir{"c": nartest.Dir{}}},
		"d": nartest.File("xy"),
		"e": nartest.Symlink("d"),
	})
	if !bytes.Equal(out.Bytes(), want) {
		t.Errorf("got  %q\nwant %q", out.Bytes(), want)
	}
}
