package nar_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"narseal/nar"
	"narseal/nar/nartest"
)

func TestReader(t *testing.T) {
	eachLarge(t, func(t *testing.T, root nartest.Node, data []byte) {
		got, err := readAll(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if want := items(root); !slices.Equal(got, want) {
			t.Errorf("got  %.2000v\nwant %.2000v", got, want)
		}
	})
}

// readers are the ways in which an input may return its bytes.
var readers = []struct {
	name string
	wrap func(io.Reader) io.Reader
}{
	{"whole", func(r io.Reader) io.Reader { return r }},
	{"a byte a read", iotest.OneByteReader},
	{"half a read", iotest.HalfReader},
	{"data with the error", iotest.DataErrReader},
	{"a byte, data with the error", func(r io.Reader) io.Reader { return iotest.DataErrReader(iotest.OneByteReader(r)) }},
	{"empty reads", func(r io.Reader) io.Reader { return &sleepy{r: r} }},
}

// sleepy returns nothing on every other read.
type sleepy struct {
	r    io.Reader
	last bool
}

func (s *sleepy) Read(p []byte) (int, error) {
	if s.last = !s.last; s.last {
		return 0, nil
	}
	return s.r.Read(p)
}

// An archive that is read and written is the same byte for byte.
func TestIdentity(t *testing.T) {
	for _, r := range readers {
		t.Run(r.name, func(t *testing.T) {
			each := each
			if !strings.HasPrefix(r.name, "a byte") {
				each = eachLarge
			}
			each(t, func(t *testing.T, _ nartest.Node, data []byte) {
				for _, rewrite := range []func(io.Writer, io.Reader) error{rewrite, rewriteSmall} {
					var out bytes.Buffer
					if err := rewrite(&out, r.wrap(bytes.NewReader(data))); err != nil {
						t.Fatal(err)
					}
					if !bytes.Equal(out.Bytes(), data) {
						t.Error("the archive changed")
					}
				}
			})
		})
	}
}

// Truncating any archive at any byte gives a sticky unexpected EOF at that byte, and what has been written is no
// archive.
func TestReaderCut(t *testing.T) {
	check := func(t *testing.T, data []byte, cut int) {
		t.Helper()
		nr := nar.NewReaderSize(bytes.NewReader(data[:cut]), smallBuffer)
		var err error
		for err == nil {
			_, err = nr.Next()
		}
		var bad *nar.FormatError
		if !errors.Is(err, io.ErrUnexpectedEOF) || !errors.As(err, &bad) || bad.Offset != int64(cut) {
			t.Fatalf("cut at %d of %d: Next gives %v", cut, len(data), err)
		}
		if _, again := nr.Next(); again != err {
			t.Fatalf("cut at %d: Next gives %v, then %v", cut, err, again)
		}
		if _, again := nr.Read(make([]byte, 1)); again != err {
			t.Fatalf("cut at %d: Next gives %v, then Read %v", cut, err, again)
		}
		if _, again := nr.Peek(1); again != err {
			t.Fatalf("cut at %d: Next gives %v, then Peek %v", cut, err, again)
		}

		var out bytes.Buffer
		if err := rewriteSmall(&out, bytes.NewReader(data[:cut])); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut at %d of %d: rewriting gives %v", cut, len(data), err)
		}
		if !bytes.HasPrefix(data, out.Bytes()) || out.Len() == len(data) {
			t.Fatalf("cut at %d of %d: %d bytes were written", cut, len(data), out.Len())
		}
	}
	each(t, func(t *testing.T, _ nartest.Node, data []byte) {
		step := 1
		if testing.Short() {
			step = 1 + len(data)/200
		}
		for cut := 0; cut < len(data); cut += step {
			check(t, data, cut)
		}
		check(t, data, len(data)-1)
	})
	for _, a := range large {
		t.Run(a.name, func(t *testing.T) {
			data := nartest.Tree(a.root)
			for cut := len(data) % 39989; cut < len(data); cut += 39989 {
				check(t, data, cut)
			}
			check(t, data, len(data)-1)
		})
	}
}

// An input's failure gives its own error, with the offset, and no clean end.
func TestReaderInputFails(t *testing.T) {
	each(t, func(t *testing.T, _ nartest.Node, data []byte) {
		broken := errors.New("broken")
		for cut := 0; cut <= len(data); cut += 8 {
			_, err := readAll(io.MultiReader(bytes.NewReader(data[:cut]), iotest.ErrReader(broken)))
			var bad *nar.FormatError
			if !errors.Is(err, broken) || !errors.As(err, &bad) {
				t.Fatalf("failing at %d of %d: %v", cut, len(data), err)
			}
		}
	})
}

func TestReaderNoProgress(t *testing.T) {
	stuck := readFunc(func([]byte) (int, error) { return 0, nil })
	if _, err := readAll(stuck); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("got %v", err)
	}
	for _, n := range []int{-1, 1 << 30} {
		wrong := readFunc(func([]byte) (int, error) { return n, nil })
		if _, err := readAll(wrong); err == nil || !strings.Contains(err.Error(), "impossible count") {
			t.Errorf("Read gives %d: got %v", n, err)
		}
	}
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func TestReaderOverlong(t *testing.T) {
	each(t, func(t *testing.T, _ nartest.Node, data []byte) {
		for _, more := range []string{"\x00", "x", string(data)} {
			_, err := readAll(io.MultiReader(bytes.NewReader(data), strings.NewReader(more)))
			var bad *nar.FormatError
			if !errors.As(err, &bad) || bad.Offset != int64(len(data)) || bad.Path != "" {
				t.Errorf("with %d bytes more: %v", len(more), err)
			}
		}
	})
}

// deepArchive returns the archive of nested(levels) without the encoder, whose recursion is slow at this depth.
func deepArchive(levels int) []byte {
	var b bytes.Buffer
	b.WriteString(magic)
	b.WriteString(strings.Repeat(str("(", "type", "directory", "entry", "(", "name", "d", "node"), levels))
	b.WriteString(str("(", "type", "regular", "contents", "at the bottom", ")"))
	b.WriteString(strings.Repeat(str(")", ")"), levels))
	return b.Bytes()
}

func TestReaderDepth(t *testing.T) {
	for _, levels := range []int{4096, 10000, nar.MaxDepth} {
		data := deepArchive(levels)
		var out bytes.Buffer
		if err := rewrite(&out, bytes.NewReader(data)); err != nil || !bytes.Equal(out.Bytes(), data) {
			t.Errorf("%d levels: %.200v, or another archive", levels, err)
		}
	}
	r := nar.NewReader(bytes.NewReader(deepArchive(nar.MaxDepth + 1)))
	var err error
	for err == nil {
		_, err = r.Next()
	}
	if err == nil || !strings.Contains(err.Error(), "more than 16384 nested directories") {
		t.Errorf("a level too many: %.200v", err)
	}
}

// Any mix of Peek, Discard and Read returns the same contents.
func TestReaderPeek(t *testing.T) {
	contents := pattern(700<<10 + 3)
	data := nartest.Tree(nartest.Dir{"f": nartest.File(contents), "g": nartest.File("next")})
	for _, peek := range []int{0, 1, 31, 4096, 64 << 10, 1 << 20} {
		for _, r := range readers[:4] {
			if peek == 0 && r.name != "whole" {
				continue // nothing need be there
			}
			t.Run(fmt.Sprintf("%d, %s", peek, r.name), func(t *testing.T) {
				nr := nar.NewReader(r.wrap(bytes.NewReader(data)))
				for range 2 {
					if _, err := nr.Next(); err != nil {
						t.Fatal(err)
					}
				}
				var got []byte
				for nr.Remaining() > 0 {
					b, err := nr.Peek(peek)
					if err != nil && err != io.EOF {
						t.Fatal(err)
					}
					left := int(nr.Remaining())
					if want := min(peek, 64<<10, left); len(b) < want {
						t.Fatalf("Peek(%d) gives %d bytes, %d remain", peek, len(b), left)
					}
					if (err == io.EOF) != (min(peek, 64<<10) > left) {
						t.Fatalf("Peek(%d) with %d remaining gives %v", peek, left, err)
					}
					n := (len(b) + 1) / 2
					got = append(got, b[:n]...)
					nr.Discard(n)
					// One byte by Read, to mix both ways.
					if nr.Remaining() > 0 {
						one := make([]byte, 1)
						if n, err := nr.Read(one); n != 1 || err != nil {
							t.Fatalf("Read: %d, %v", n, err)
						}
						got = append(got, one[0])
					}
				}
				if !bytes.Equal(got, contents) {
					t.Error("contents differ")
				}
				if n, err := nr.Read(make([]byte, 1)); n != 0 || err != io.EOF {
					t.Errorf("Read at the end: %d, %v", n, err)
				}
				if e, err := nr.Next(); err != nil || string(e.Name) != "g" {
					t.Errorf("Next: %v, %v", e, err)
				}
			})
		}
	}
}

// The bytes that Next and Peek return may be changed, as the filter does to rewrite in place. That must not affect
// bytes that are still to be checked.
func TestReaderBytesMayChange(t *testing.T) {
	each(t, func(t *testing.T, root nartest.Node, data []byte) {
		nr := nar.NewReader(bytes.NewReader(data))
		var paths []string
		for {
			e, err := nr.Next()
			if err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			paths = append(paths, nr.Path())
			b, err := nr.Peek(1 << 20)
			if err != nil && err != io.EOF {
				t.Fatal(err)
			}
			for _, s := range [][]byte{e.Name, e.Target, b} {
				for i := range s {
					s[i] = 0xff
				}
				_ = append(s, 0xff) // must copy, not overwrite what follows
			}
		}
		var want []string
		for _, it := range items(root) {
			want = append(want, it.Path)
		}
		if !slices.Equal(paths, want) {
			t.Errorf("got  %q\nwant %q", paths, want)
		}
	})
}

func TestReaderDiscardPanics(t *testing.T) {
	for _, n := range []int{-1, 4} {
		nr := nar.NewReader(bytes.NewReader(nartest.Tree(nartest.File("abc"))))
		if _, err := nr.Next(); err != nil {
			t.Fatal(err)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("Discard(%d) of 3 bytes did not panic", n)
				}
			}()
			nr.Discard(n)
		}()
	}
}

func TestReaderOffset(t *testing.T) {
	data := nartest.Tree(nartest.Dir{"a": nartest.File("contents"), "b": nartest.Symlink("a")})
	nr := nar.NewReader(iotest.OneByteReader(bytes.NewReader(data)))
	if got := nr.Offset(); got != 0 {
		t.Errorf("at first: %d", got)
	}
	marks := []int{
		bytes.Index(data, nartest.Strings("entry")),
		bytes.Index(data, nartest.Strings("contents", "contents")) + 16 + 8,
		bytes.Index(data, nartest.Strings("target", "a")) + 16 + 16,
		len(data),
	}
	for i, want := range marks {
		_, err := nr.Next()
		if (err != nil) != (i == 3) {
			t.Fatal(err)
		}
		if got := nr.Offset(); got != int64(want) {
			t.Errorf("after entry %d: offset %d, want %d", i, got, want)
		}
	}
}
