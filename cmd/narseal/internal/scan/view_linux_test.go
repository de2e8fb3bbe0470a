package scan

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"

	"narseal/macho"
)

var _ macho.Viewer = (*File)(nil)

func TestView(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	const size = smallView + 100_000
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{}).Read(data)
	write(t, name, data)
	f := open(t, name)
	for _, r := range [][2]int64{{0, size}, {1, size - 1}, {0, smallView}, {1, smallView}, {4095, smallView + 1}, {1, 4095},
		{4095, 2}, {size - 1, 1}} {
		off, n := r[0], r[1]
		called := 0
		err := f.View(off, n, func(b []byte) error {
			called++
			if !bytes.Equal(b, data[off:off+n]) {
				t.Errorf("%d bytes at %d are others", n, off)
			}
			return nil
		})
		if err != nil || called != 1 {
			t.Errorf("%d bytes at %d: called %d times, error %v", n, off, called, err)
		}
	}
	if err := f.View(size-8, 16, func([]byte) error { return nil }); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("past the end: %v", err)
	}
	if err := f.View(0, 1, func([]byte) error { return io.ErrNoProgress }); err != io.ErrNoProgress {
		t.Errorf("the look's error became %v", err)
	}
}

// TestViewCut has a file cut short while its bytes are looked at: an error, not
// the end of the process.
func TestViewCut(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	write(t, name, make([]byte, 1<<20))
	f := open(t, name)
	err := f.View(4096, 1<<20-4096, func(b []byte) error {
		if err := os.Truncate(name, 8192); err != nil {
			t.Fatal(err)
		}
		for i := 0; i < 1<<18; i += 4096 {
			sha256.Sum256(b[i : i+4096])
		}
		t.Error("bytes that are gone were hashed")
		return nil
	})
	if !errors.Is(err, io.ErrUnexpectedEOF) || err.Error() != "read: offset 8192: unexpected EOF" && os.Getpagesize() == 4096 {
		t.Errorf("error %v", err)
	}
	if debug.SetPanicOnFault(false) {
		t.Error("a fault is an error to the goroutine for good")
	}
	// A panic of another kind goes through.
	defer func() {
		if r := recover(); r != "other" {
			t.Errorf("recovered %v", r)
		}
	}()
	_ = f.View(0, 1<<20, func([]byte) error { panic("other") })
}
