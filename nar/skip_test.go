package nar_test

import (
	"bytes"
	"errors"
	"io"
	"math"
	"slices"
	"testing"

	"narseal/nar"
	"narseal/nar/nartest"
)

// seekable is an input that can skip bytes as a file can, even past its end.
type seekable struct {
	*bytes.Reader
	read, skipped int64
	err           error
}

func (s *seekable) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	s.read += int64(n)
	return n, err
}

func (s *seekable) Skip(n int64) error {
	s.skipped += n
	if s.err == nil {
		_, s.err = s.Seek(n, io.SeekCurrent)
	}
	return s.err
}

// Contents that nobody reads are skipped if the input can, and the entries are the same.
func TestReaderSkip(t *testing.T) {
	eachLarge(t, func(t *testing.T, root nartest.Node, data []byte) {
		s := &seekable{Reader: bytes.NewReader(data)}
		r := nar.NewReaderSize(s, smallBuffer)
		at := 0
		list := items(root)
		for i, it := range list {
			e, err := r.Next()
			if err != nil {
				t.Fatalf("entry %d: %v", i, err)
			}
			if e.Type != it.Type || e.Size != it.Size || string(e.Target) != it.LinkTarget {
				t.Fatalf("entry %d: got %v, want %v", i, e, it.Header)
			}
			begin := str("entry", "(", "name", string(e.Name), "node", "(")
			if i == 0 {
				begin = str("(")
			}
			if at = int(r.EntryOffset()); !bytes.HasPrefix(data[at:], []byte(begin)) {
				t.Fatalf("entry %d does not begin at %d", i, at)
			}
		}
		if _, err := r.Next(); err != io.EOF {
			t.Fatalf("at the end: %v", err)
		}
		if s.read+s.skipped != int64(len(data)) {
			t.Errorf("%d bytes read, %d skipped, of %d", s.read, s.skipped, len(data))
		}
		for _, it := range list {
			if it.Size > 2*smallBuffer && s.skipped < it.Size-smallBuffer {
				t.Errorf("%d bytes skipped, but %s has %d", s.skipped, it.Path, it.Size)
			}
		}
	})
}

// A cut in skipped contents is an error once the bytes after them are missing.
func TestReaderSkipCut(t *testing.T) {
	data := nartest.Tree(nartest.Dir{"f": nartest.File(pattern(10 * smallBuffer))})
	for cut := 0; cut < len(data); cut += 97 {
		r := nar.NewReaderSize(&seekable{Reader: bytes.NewReader(data[:cut])}, smallBuffer)
		var err error
		for err == nil {
			_, err = r.Next()
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
	for _, n := range []uint64{1 << 40, math.MaxInt64 - 7} {
		s := &seekable{Reader: bytes.NewReader([]byte(inA + str("(", "type", "regular", "contents") + u64(n) + "x"))}
		r := nar.NewReader(s)
		var err error
		for err == nil {
			_, err = r.Next()
		}
		if err == io.EOF {
			t.Errorf("%d bytes that are not there: %v", n, err)
		}
	}
	fault := errors.New("fault")
	r := nar.NewReaderSize(&seekable{Reader: bytes.NewReader(data), err: fault}, smallBuffer)
	var err error
	for err == nil {
		_, err = r.Next()
	}
	if !errors.Is(err, fault) {
		t.Errorf("a failed Skip: %v", err)
	}
}

// AnyOrder disables the check of the order, and no other.
func TestReaderAnyOrder(t *testing.T) {
	one := nartest.File("1")
	data := nartest.Tree(nartest.Entries{
		{Name: "b", Node: nartest.Entries{{Name: "z", Node: one}, {Name: "y", Node: one}}}, {Name: "a", Node: one}, {Name: "a", Node: one},
	})
	r := nar.NewReader(bytes.NewReader(data))
	r.AnyOrder()
	var paths []string
	for {
		if _, err := r.Next(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, r.Path())
	}
	if want := []string{"/", "/b", "/b/z", "/b/y", "/a", "/a"}; !slices.Equal(paths, want) {
		t.Errorf("got %q, want %q", paths, want)
	}
	for _, v := range violations {
		if _, err := readAll(bytes.NewReader([]byte(v.good + v.bad))); errors.As(err, new(*nar.OrderError)) {
			continue
		}
		r := nar.NewReader(bytes.NewReader([]byte(v.good + v.bad)))
		r.AnyOrder()
		var err error
		for err == nil {
			_, err = r.Next()
		}
		if err == io.EOF {
			t.Errorf("%s: taken", v.name)
		}
	}
}
