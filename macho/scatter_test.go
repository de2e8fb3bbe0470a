package macho_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"narseal/macho"
	"narseal/macho/machotest"
)

// kernelSlot returns what the kernel compares a page with, as hashes in bsd/kern/ubc_subr.c of xnu finds it: one scatter
// record after the other, up to and including the page after the record's last one. It returns nil for no slot. directory
// has the rest of the signature, too.
func kernelSlot(directory []byte, records [][2]uint32, page uint32) []byte {
	index := uint32(0)
	for _, r := range records {
		count, base := r[0], r[1]
		if page < base {
			return nil
		}
		if base+count >= page {
			from := int(binary.BigEndian.Uint32(directory[16:])) + int(index+page-base)*sha256.Size
			if from+sha256.Size > len(directory) {
				return nil
			}
			return directory[from:][:sha256.Size]
		}
		index += count
	}
	return nil
}

// TestScatterLists verifies images with random scatter lists, and compares the result with the kernel's search for each
// page.
func TestScatterLists(t *testing.T) {
	const page, pages = 4096, 8
	rnd := rand.New(rand.NewPCG(3, 4))
	counts := map[macho.Status]int{}
	for range 3_000 {
		im := machotest.Image{CodeSize: pages * page, Executable: page * (1 + rnd.IntN(pages))}
		if rnd.IntN(2) == 0 {
			im.Blobs = []machotest.Blob{{Slot: 2, Magic: machotest.Requirements, Data: make([]byte, rnd.IntN(64))}}
		}
		var records [][2]uint32
		for at := uint32(0); at < pages; {
			count := uint32(1 + rnd.IntN(pages-int(at)))
			records = append(records, [2]uint32{count, at})
			at += count
			if rnd.IntN(3) == 0 {
				at += uint32(rnd.IntN(3))
			}
			if rnd.IntN(8) == 0 {
				break
			}
		}
		im.Directories = []machotest.Directory{{PageShift: 12, Scatter: records}}
		data, layout := im.Build()

		// The directory with all that follows it in the signature.
		directory := data[layout.Blobs[0]:]
		want := macho.StatusValid
		for p := range uint32(pages) {
			slot := kernelSlot(directory, records, p)
			sum := sha256.Sum256(data[p*page:][:page])
			switch needed := p == 0 || int(p)*page < im.Executable; {
			case slot == nil && needed, slot != nil && !bytes.Equal(slot, sum[:]):
				want = macho.StatusRefused
			}
		}
		got := mustVerify(t, macho.Bytes(data)).Slices[0]
		if got.Status != want {
			t.Errorf("records %v, executable to %d, %d blobs: %s (%s), want %s", records, im.Executable, len(im.Blobs), got.Status, got.Reason, want)
		}
		counts[got.Status]++
	}
	if counts[macho.StatusValid] < 100 || counts[macho.StatusRefused] < 100 {
		t.Errorf("the lists are too much alike: %v", counts)
	}
}
