package macho_test

import (
	"bytes"
	debugmacho "debug/macho"
	"errors"
	"slices"
	"testing"

	"narseal/macho"
	"narseal/macho/machotest"
)

func derivedRanges(t *testing.T, image macho.Image) []macho.Range {
	t.Helper()
	ranges, err := macho.DerivedRanges(image)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range ranges {
		if r.Len <= 0 || r.Off < 0 || r.Off+r.Len > image.Size() || i > 0 && ranges[i-1].Off+ranges[i-1].Len >= r.Off {
			t.Fatalf("ranges %+v of %d bytes", ranges, image.Size())
		}
	}
	return ranges
}

// underived returns data with the ranges and the hash replaced by zeros.
func underived(t *testing.T, data, hash []byte) []byte {
	t.Helper()
	out := bytes.Clone(data)
	for _, r := range derivedRanges(t, macho.Bytes(data)) {
		clear(out[r.Off : r.Off+r.Len])
	}
	return bytes.ReplaceAll(out, hash, make([]byte, len(hash)))
}

// Two images that differ in a hash are otherwise the same.
func TestDerivedRangesOfPairs(t *testing.T) {
	for _, name := range goldenNames(t) {
		a, b := readGolden(t, "A", name), readGolden(t, "B", name)
		if bytes.Equal(a, b) || !bytes.Equal(underived(t, a, hashA), underived(t, b, hashB)) {
			t.Errorf("%s: more than the hash and what is derived from it differs", name)
		}
	}
	matrixB := machotest.Matrix(string(hashB))
	for i, a := range matrixA() {
		b := matrixB[i]
		if bytes.Equal(a.Data, b.Data) || !bytes.Equal(underived(t, a.Data, hashA), underived(t, b.Data, hashB)) {
			t.Errorf("%s: more than the hash and what is derived from it differs", a.Name)
		}
	}
}

// The ranges are the slots of the layout, and special slots that are not set, which are zeros.
func TestDerivedRangesOfMatrix(t *testing.T) {
	for _, c := range matrixA() {
		covered := make([]bool, len(c.Data))
		for _, r := range derivedRanges(t, opaque{c.Data}) {
			for i := range r.Len {
				covered[r.Off+i] = true
			}
		}
		want := make([]bool, len(c.Data))
		slot := func(off, size int64) {
			for i := range size {
				want[off+i] = true
			}
		}
		for _, l := range c.Layouts {
			// Before the signature only the UUID is covered.
			code := covered[l.Offset : l.Offset+l.Signature]
			if i := slices.Index(code, true); i >= 0 {
				if uuid := code[i : i+16]; slices.Contains(uuid, false) {
					t.Errorf("%s: the UUID at %d is covered in part", c.Name, i)
				}
				clear(code[i : i+16])
			}
			for _, d := range l.Directories {
				for _, p := range d.Pages {
					slot(l.Offset+d.Hashes+int64(p.Slot)*d.HashSize, d.HashSize)
					if d.Twin != 0 {
						slot(l.Offset+d.Twin+int64(p.Slot)*d.HashSize, d.HashSize)
					}
				}
				for k := range d.Special {
					slot(l.Offset+d.Hashes-int64(k)*d.HashSize, d.HashSize)
				}
			}
		}
		for off := range c.Data {
			if want[off] && !covered[off] || covered[off] && !want[off] && c.Data[off] != 0 {
				t.Errorf("%s: byte %d: covered %v, want %v", c.Name, off, covered[off], want[off])
				break
			}
		}
	}
}

// LC_UUID is where debug/macho finds it, in slices that are signed.
func TestDerivedRangesOfUUID(t *testing.T) {
	seen := 0
	for _, name := range goldenNames(t) {
		data := readGolden(t, "A", name)
		ranges := derivedRanges(t, macho.Bytes(data))
		each := func(f *debugmacho.File, base int64) {
			pos := base + 28
			if f.Magic == debugmacho.Magic64 {
				pos += 4
			}
			for _, l := range f.Loads {
				raw := l.Raw()
				if f.ByteOrder.Uint32(raw) == 0x1b {
					seen++
					if !slices.Contains(ranges, macho.Range{Off: pos + 8, Len: 16}) {
						t.Errorf("%s: UUID at %d is not in %+v", name, pos+8, ranges)
					}
				}
				pos += int64(len(raw))
			}
		}
		if fat, err := debugmacho.NewFatFile(bytes.NewReader(data)); err == nil {
			for _, arch := range fat.Arches {
				each(arch.File, int64(arch.Offset))
			}
			continue
		}
		f, err := debugmacho.NewFile(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		each(f, 0)
	}
	if seen < 11 {
		t.Errorf("saw %d UUIDs, want one in each golden", seen)
	}
}

// An image without a signature, or with a malformed one, has no ranges.
func TestDerivedRangesOfNothing(t *testing.T) {
	data := bytes.Clone(readGolden(t, "A", "go-arm64"))
	i := bytes.Index(data, []byte{0xfa, 0xde, 0x0c, 0x02})
	data[i+7]-- // the CodeDirectory's length
	data[i+6]--
	for _, b := range [][]byte{nil, []byte("#!/bin/sh"), data, data[:len(data)/2]} {
		if ranges := derivedRanges(t, macho.Bytes(b)); len(ranges) != 0 {
			t.Errorf("%d bytes: got %+v", len(b), ranges)
		}
	}
	image := &brokenImage{opaque: opaque{readGolden(t, "A", "go-arm64")}, writes: 0}
	if _, err := macho.DerivedRanges(image); !errors.Is(err, errBroken) {
		t.Errorf("failing image: got error %v", err)
	}
}
