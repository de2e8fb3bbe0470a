package filter

import (
	"math/rand/v2"
	"testing"

	"narseal/macho"
)

// checkRanges wants ascending ranges within size, each byte of want in one of
// them, and at most maxRanges.
func checkRanges(t *testing.T, got, want []macho.Range, size int64) {
	t.Helper()
	if len(got) > maxRanges {
		t.Fatalf("%d ranges, want at most %d", len(got), maxRanges)
	}
	end := int64(-1)
	for _, r := range got {
		if r.Len <= 0 || r.Off <= end || r.Off+r.Len > size {
			t.Fatalf("range %+v after one that ends at %d, in an image of %d bytes", r, end, size)
		}
		end = r.Off + r.Len
	}
	for i, w := range want {
		for len(got) > 0 && got[0].Off+got[0].Len < w.Off+w.Len {
			got = got[1:]
		}
		if len(got) == 0 || got[0].Off > w.Off {
			t.Fatalf("place %d, %+v, is in no range", i, w)
		}
	}
}

func TestRangesAreExactWhileTheyAreFew(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		var r ranges
		r.reset()
		var want []macho.Range
		at := int64(0)
		for range rng.IntN(50) {
			at += rng.Int64N(3) * rng.Int64N(5000)
			n := 1 + rng.Int64N(128)
			r.add(at, n)
			if k := len(want) - 1; k >= 0 && want[k].Off+want[k].Len == at {
				want[k].Len += n
			} else {
				want = append(want, macho.Range{Off: at, Len: n})
			}
			at += n
		}
		got := r.within(at)
		if len(got) != len(want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("got %v, want %v", got, want)
			}
		}
	}
}

// Beyond maxRanges places memory does not grow, no place is lost, and none
// ends past the image, whose size is no multiple of any block.
func TestRangesAreBounded(t *testing.T) {
	for _, step := range []int64{40, 5000, 9000} {
		var r ranges
		r.reset()
		n := 2*maxRanges + 12345
		want := make([]macho.Range, 0, n)
		for i := range n {
			at := int64(i) * step
			r.add(at, 32)
			want = append(want, macho.Range{Off: at, Len: 32})
		}
		last := want[n-1]
		size := last.Off + last.Len
		checkRanges(t, r.within(size), want, size)
		if n := cap(r.list); n > 2*maxRanges {
			t.Errorf("step %d: room for %d ranges", step, n)
		}
		r.reset()
		r.add(7, 32)
		if got := r.within(100); len(got) != 1 || got[0] != (macho.Range{Off: 7, Len: 32}) {
			t.Errorf("after a reset: %v", got)
		}
	}
}
