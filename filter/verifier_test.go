package filter

import (
	"testing"

	"narseal/filter/spill"
	"narseal/macho"
)

// The memory of images that wait is bounded.
func TestVerifierMemory(t *testing.T) {
	const limit, size = 1 << 20, 100 << 10
	a := newVerifier(2, spill.Options{})
	reported := 0
	for i := range 100 {
		if err := a.reserve(size, limit); err != nil {
			t.Fatal(err)
		}
		if a.bytes+a.kept+size > limit || len(a.queue) >= maxQueued {
			t.Fatalf("image %d: %d bytes wait and %d are spare, of %d", i, a.bytes, a.kept, limit)
		}
		m := a.buffer()
		if m.Bytes == nil {
			m.Bytes = make([]byte, 0, size)
		}
		m.Bytes = m.Bytes[:size]
		a.verify(m, verifyOptions{}, func(*macho.Report, error) error {
			if reported != i {
				t.Errorf("reported image %d, want %d", i, reported)
			}
			reported++
			return nil
		})
		for range 3 { // three in a row
			a.then(func() {})
			a.reach(i, func(int) {})
		}
	}
	if err := a.finish(); err != nil {
		t.Fatal(err)
	}
	if reported != 100 || a.bytes != 0 || len(a.queue) != 0 {
		t.Errorf("%d reported, %d bytes and %d images wait", reported, a.bytes, len(a.queue))
	}
}
