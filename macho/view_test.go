package macho_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync/atomic"
	"testing"

	"narseal/macho"
	"narseal/macho/machotest"
)

// viewer shows a copy of its bytes, which it clears afterwards.
type viewer struct {
	opaque
	looks atomic.Int64
	err   error // returned instead of showing anything
}

func (v *viewer) View(off, n int64, look func([]byte) error) error {
	v.looks.Add(1)
	if v.err != nil {
		return v.err
	}
	shown := bytes.Clone(v.Bytes[off : off+n])
	defer clear(shown)
	return look(shown)
}

// TestView verifies and repairs an image that shows its bytes, with damage on both sides of many batches. The result
// must be that of the same image in memory, also if it cannot show them.
func TestView(t *testing.T) {
	data, _ := machotest.Image{CodeSize: 10<<20 + 777, Directories: []machotest.Directory{{PageShift: 12}, {Slot: 0x1000, PageShift: 14, HashType: 1}, {Slot: 0x1001}}}.Build()
	rng := rand.New(rand.NewPCG(1, 2))
	for at := 256 << 10; at < 10<<20; at += 256 << 10 {
		data[at-1] ^= byte(rng.IntN(2))
		data[at] ^= byte(rng.IntN(2))
	}
	repaired := bytes.Clone(data)
	wantRepair, err := macho.Repair(macho.Bytes(repaired))
	if err != nil {
		t.Fatal(err)
	}
	want := mustVerify(t, macho.Bytes(data))
	if want.Slices[0].Status != macho.StatusStale || bytes.Equal(repaired, data) {
		t.Fatalf("nothing to find: %+v", want.Slices[0])
	}
	for _, broken := range []error{nil, fmt.Errorf("no map: %w", errors.ErrUnsupported)} {
		for _, jobs := range []int{1, 3} {
			v := &viewer{opaque: opaque{bytes.Clone(data)}, err: broken}
			got, err := macho.Config{Jobs: jobs}.Verify(v)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%v, %d jobs: %+v, %v, want %+v", broken, jobs, got, err, want)
			}
			if v.looks.Load() < 5 {
				t.Errorf("%v: asked %d times to be shown", broken, v.looks.Load())
			}
			got, err = macho.Config{Jobs: jobs}.Repair(v)
			if err != nil || !reflect.DeepEqual(got, wantRepair) || !bytes.Equal(v.Bytes, repaired) {
				t.Errorf("%v, %d jobs: repair: %+v, %v, want %+v", broken, jobs, got, err, wantRepair)
			}
		}
	}
	if _, err := macho.Verify(&viewer{opaque: opaque{data}, err: errBroken}); !errors.Is(err, errBroken) {
		t.Errorf("an image that cannot be shown: %v", err)
	}
}
