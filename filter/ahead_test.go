package filter

import (
	"testing"

	"narseal/macho"
)

// TestLookAheadMemory wants the memory of images that wait kept in bounds.
func TestLookAheadMemory(t *testing.T) {
	const limit, size = 1 << 20, 100 << 10
	a := newAhead(2)
	told := 0
	for i := range 100 {
		if err := a.room(size, limit); err != nil {
			t.Fatal(err)
		}
		if a.bytes+a.kept+size > limit || len(a.queue) >= maxPending {
			t.Fatalf("image %d: %d bytes wait and %d are spare, of %d", i, a.bytes, a.kept, limit)
		}
		b := a.buffer()
		if b == nil {
			b = make([]byte, 0, size)
		}
		a.verify(b[:size], false, func(*macho.Report, error) error {
			if told != i {
				t.Errorf("told of image %d, want %d", i, told)
			}
			told++
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
	if told != 100 || a.bytes != 0 || len(a.queue) != 0 {
		t.Errorf("%d told, %d bytes and %d images wait", told, a.bytes, len(a.queue))
	}
}
