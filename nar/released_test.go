package nar_test

import (
	"bytes"
	"io"
	"testing"

	"narseal/nar"
	"narseal/nar/nartest"
)

// The buffer of a small archive that was read to its end goes to another Reader. The first one keeps its end and offset,
// and touches the buffer no more.
func TestReleasedBuffers(t *testing.T) {
	one := nartest.Tree(nartest.Dir{"a": nartest.File("first")})
	two := nartest.Tree(nartest.Dir{"b": nartest.File("second")})
	r := nar.NewReader(bytes.NewReader(one))
	for range 3 {
		if _, err := r.Next(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	other := nar.NewReader(bytes.NewReader(two))
	for range 2 {
		if _, err := other.Next(); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, 100)
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("Next: got %v", err)
	}
	if n, err := r.Read(buf); n != 0 || err != io.EOF {
		t.Errorf("Read: got %d, %v", n, err)
	}
	if b, err := r.Peek(1); len(b) != 0 || err != io.EOF {
		t.Errorf("Peek: got %q, %v", b, err)
	}
	if r.Offset() != int64(len(one)) || r.Remaining() != 0 {
		t.Errorf("offset %d, %d remain; want %d, 0", r.Offset(), r.Remaining(), len(one))
	}
	if b, err := io.ReadAll(other); err != nil || string(b) != "second" {
		t.Errorf("the other archive: got %q, %v", b, err)
	}
}
