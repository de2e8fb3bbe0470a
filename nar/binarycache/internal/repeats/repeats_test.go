package repeats

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

func TestRepeats(t *testing.T) {
	read := func(n *NARs, url, path string, bytes, size int64, ok bool) *Reading {
		t.Helper()
		r, err := n.Begin(url, path, bytes, size)
		if err == nil {
			err = r.At(bytes)
		}
		if (err == nil) != ok || err != nil && !errors.Is(err, ErrOften) {
			t.Errorf("%s of %s: %v", url, path, err)
		}
		return r
	}
	var n NARs
	read(&n, "nar/a", "a", Free, 100, true)
	for range 10 {
		read(&n, "nar/a", "a", Free, 100, true) // the same path again
	}
	b := read(&n, "nar/a", "b", Free/2, 100, true)
	for _, at := range []int64{1, Free / 4, Free / 2} { // again, as for a NAR that changes
		if err := b.At(at); err != nil {
			t.Error(err)
		}
	}
	c := read(&n, "nar/a", "c", Free/2, 100, true)
	if err := c.At(Free/2 + 100*maxRatio - 1); err != nil {
		t.Error(err)
	}
	if err := c.At(Free/2 + 100*maxRatio); err == nil { // which is one byte too much
		t.Error("no error")
	}
	read(&n, "nar/a", "d", 0, 100, false)
	read(&n, "nar/g", "g", Free, 1<<30, true) // other NARs are read all the same, and their files count
	read(&n, "nar/a", "d", Free, 100, true)

	// A size that is not known counts for nothing, and no size overflows.
	n = NARs{}
	read(&n, "nar/a", "a", 1<<62, -1, true)
	read(&n, "nar/a", "b", Free, -1, true)
	read(&n, "nar/a", "c", 1, -1, false)
	read(&n, "nar/a", "c", 1<<62, -1, false)
}

// A size that is only claimed uses up nothing. What is read of a file counts, too, and nothing twice.
func TestFilesCount(t *testing.T) {
	var n NARs
	begin := func(path string) *Reading {
		r, err := n.Begin("nar/a", path, 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	begin("a")
	r, c, d := begin("b"), begin("c"), begin("d")
	for claimed := int64(Free); claimed > 0; claimed /= 2 {
		if _, err := n.Begin("nar/a", "false", claimed, 1); err != nil {
			t.Error(err)
		}
	}
	for range 2 {
		if b, err := io.ReadAll(r.Reader(strings.NewReader("contents"))); err != nil || string(b) != "contents" {
			t.Errorf("%q, %v", b, err)
		}
	}
	if err := r.At(5); err != nil || n.again != 8 {
		t.Errorf("%d bytes, %v", n.again, err)
	}
	if err := r.At(Free + maxRatio - 1); err != nil {
		t.Error(err)
	}
	if err := c.At(1); !errors.Is(err, ErrOften) {
		t.Error(err)
	}
	if _, err := io.ReadAll(d.Reader(strings.NewReader("contents"))); !errors.Is(err, ErrOften) {
		t.Error(err)
	}
}

// Many paths with a NAR of their own take no more memory than few.
func TestManyNARs(t *testing.T) {
	var n NARs
	for i := range 4 * remembered {
		s := fmt.Sprint(i)
		if _, err := n.Begin(s, s, 1<<40, 100); err != nil {
			t.Fatal(err)
		}
	}
	if len(n.table) != remembered {
		t.Errorf("%d entries", len(n.table))
	}
}
