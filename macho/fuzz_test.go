package macho_test

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"testing"

	"narseal/macho"
)

// guarded fails the test when a call reaches outside the image.
type guarded struct {
	opaque
	t *testing.T
}

func (g guarded) check(n int, off int64) {
	if off < 0 || off+int64(n) > g.Size() {
		g.t.Errorf("%d bytes at %d of an image of %d", n, off, g.Size())
	}
}

func (g guarded) ReadAt(p []byte, off int64) (int, error) {
	g.check(len(p), off)
	return g.opaque.ReadAt(p, off)
}

func (g guarded) WriteAt(p []byte, off int64) (int, error) {
	g.check(len(p), off)
	return g.opaque.WriteAt(p, off)
}

// base is an image to be mutated.
type base struct {
	data []byte
	sig  int64 // where the first signature begins
}

// bases returns the goldens and the matrix, without a few large images. It fails the test if there are no goldens.
func bases(f *testing.F) []base {
	var all []base
	for _, name := range goldenNames(f) {
		data := readGolden(f, "A", name)
		if len(data) < 100<<10 {
			all = append(all, base{data, int64(bytes.Index(data, []byte{0xfa, 0xde, 0x0c, 0xc0}))})
		}
	}
	for _, c := range matrixA() {
		if len(c.Data) < 100<<10 {
			all = append(all, base{c.Data, c.Layouts[0].Offset + c.Layouts[0].Signature})
		}
	}
	data, l := refusalImage()
	all = append(all, base{data, l.Signature})
	return all
}

// patched returns a copy of the image with the patches applied. Each has five bytes: an offset in the load commands or
// in the signature, and what to write there. The images are too large for the fuzzer to find these places.
func (b base) patched(patches []byte) []byte {
	out := bytes.Clone(b.data)
	be := binary.BigEndian
	for ; len(patches) >= 5; patches = patches[5:] {
		at, value := int64(be.Uint16(patches)&0x3fff), uint32(be.Uint16(patches[3:]))
		if patches[0]&0x80 != 0 {
			at = b.sig + at%2048
		}
		if patches[0]&0x40 != 0 {
			at &^= 3
		}
		if at+4 > int64(len(out)) {
			continue
		}
		switch patches[2] % 8 {
		case 0:
			out[at] = byte(value)
		case 1:
			out[at] ^= 1 << (value % 8)
		case 2:
			be.PutUint32(out[at:], value)
		case 3:
			be.PutUint32(out[at:], -value)
		case 4:
			binary.LittleEndian.PutUint32(out[at:], value)
		case 5:
			binary.LittleEndian.PutUint32(out[at:], -value)
		case 6:
			be.PutUint32(out[at:], be.Uint32(out[at:])+value)
		case 7:
			out = out[:int64(len(out))-int64(value)%int64(len(out))]
		}
	}
	return out
}

// FuzzProbe checks that Probe asks for no more than it may, reaches a verdict, and agrees with Verify.
func FuzzProbe(f *testing.F) {
	all := bases(f)
	for i := range all {
		f.Add(uint8(i), []byte(nil), []byte(nil))
		f.Add(uint8(i), []byte("\x80\x08\x02\x00\x03"), []byte(nil))
		f.Add(uint8(0xff), []byte(nil), all[i].data[:300]) // the truncated header
	}
	f.Fuzz(func(t *testing.T, which uint8, patches, data []byte) {
		if int(which) < len(all) {
			data = all[which].patched(patches)
		}
		v, read := probe(t, data)
		if v == macho.Unsigned {
			checkUnsigned(t, data, read)
		}
		if whole, _ := macho.Probe(data, int64(len(data))); whole != v {
			t.Errorf("Probe of the whole says %d, of prefixes %d", whole, v)
		}
		found := false
		for _, s := range mustVerify(t, macho.Bytes(data)).Slices {
			found = found || s.Status != macho.StatusUnsigned
		}
		if found != (v == macho.Signed) {
			t.Errorf("Probe says %d, Verify finds more than unsigned slices: %v", v, found)
		}
		if v == macho.Signed && !macho.IsMachO(data) {
			t.Error("a signed image, and IsMachO says no")
		}
	})
}

// FuzzVerify checks that an image in memory and one that is read give the same report, and that Verify changes nothing.
func FuzzVerify(f *testing.F) {
	all := bases(f)
	for i := range all {
		f.Add(uint8(i), []byte(nil))
		f.Add(uint8(i), []byte("\x80\x40\x01\x00\x03"))
	}
	f.Fuzz(func(t *testing.T, which uint8, patches []byte) {
		data := all[int(which)%len(all)].patched(patches)
		data = data[:len(data):len(data)]
		before := bytes.Clone(data)
		inMemory := mustVerify(t, macho.Bytes(data))
		read := mustVerify(t, guarded{opaque{data}, t})
		if !reflect.DeepEqual(inMemory, read) {
			t.Errorf("in memory %+v, read %+v", inMemory, read)
		}
		if !bytes.Equal(data, before) {
			t.Error("Verify wrote to the image")
		}
	})
}

// FuzzRepair damages an image and repairs it in every way. Only slots may change, a repaired image must be valid, and a
// second repair must change nothing.
func FuzzRepair(f *testing.F) {
	all := bases(f)
	for i := range all {
		f.Add(uint8(i), []byte(nil), uint32(len(all[i].data)/2), uint32(7))
		f.Add(uint8(i), []byte("\x80\x40\x01\x00\x03"), uint32(len(all[i].data)-60), uint32(32))
	}
	f.Fuzz(func(t *testing.T, which uint8, patches []byte, off, n uint32) {
		data := all[int(which)%len(all)].patched(patches)
		damaged := bytes.Clone(data)
		touched := []macho.Range{}
		if len(data) > 0 {
			from := int(off) % len(data)
			to := min(len(data), from+int(n%70_000))
			for i := from; i < to; i += 1 + int(n)%5000 {
				damaged[i] ^= 1
			}
			touched = append(touched, macho.Range{Off: int64(from), Len: int64(to - from)})
		}
		for _, ranges := range [][]macho.Range{touched, nil} {
			got := bytes.Clone(damaged)
			report, err := repair(macho.Config{}, guarded{opaque{got}, t}, ranges)
			if err != nil {
				t.Fatal(err)
			}
			checkChanges(t, damaged, got)
			after := mustVerify(t, macho.Bytes(got))
			for i, s := range report.Slices {
				switch s.Status {
				case macho.StatusStale:
					t.Errorf("a repair reports %s", s.Status)
				case macho.StatusRepaired, macho.StatusValid:
					if ranges == nil && after.Slices[i].Status != macho.StatusValid {
						t.Errorf("%s, but Verify says %s (%s)", s.Status, after.Slices[i].Status, after.Slices[i].Reason)
					}
				}
			}
			again := bytes.Clone(got)
			if _, err := repair(macho.Config{}, macho.Bytes(again), ranges); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(again, got) {
				t.Error("a second repair changed the image")
			}
		}

		adhoc := macho.Config{OnCMS: macho.CMSAdhoc}
		got := bytes.Clone(damaged)
		report, err := adhoc.Repair(guarded{opaque{got}, t})
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range mustVerify(t, macho.Bytes(got)).Slices {
			// An unknown hash type keeps the other CodeDirectories from being repaired.
			if !s.Status.OK() && report.Slices[i].Status.OK() {
				t.Errorf("after a repair that makes ad-hoc: %s, then %s (%s)", report.Slices[i].Status, s.Status, s.Reason)
			}
			if report.Slices[i].Status == macho.StatusCMS {
				t.Error("a repair that makes ad-hoc leaves a certificate")
			}
		}
	})
}

// checkChanges checks that every byte that differs lies in the slots of something that looks like a CodeDirectory.
func checkChanges(t *testing.T, before, after []byte) {
	t.Helper()
	if bytes.Equal(before, after) {
		return
	}
	restored := bytes.Clone(after)
	be := binary.BigEndian
	for pos := 0; ; pos++ {
		i := bytes.Index(before[pos:], []byte{0xfa, 0xde, 0x0c, 0x02})
		if i < 0 {
			break
		}
		pos += i
		var head [108]byte
		copy(head[:], before[pos:])
		u32 := func(off int) int { return int(be.Uint32(head[off:])) }
		size := int(head[36])
		arrays := [][2]int{{u32(16) - u32(24)*size, u32(16) + u32(28)*size}}
		if u32(8) >= 0x20500 && u32(92) != 0 {
			arrays = append(arrays, [2]int{u32(92), u32(92) + u32(28)*size})
		}
		for _, a := range arrays {
			if from, to := pos+a[0], pos+a[1]; from >= 0 && from <= to && to <= len(before) {
				copy(restored[from:to], before[from:to])
			}
		}
	}
	if !bytes.Equal(restored, before) {
		t.Error("a repair changed bytes that are not slots")
	}
}
