package macho_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"narseal/macho"
)

// probe calls Probe with longer and longer prefixes, as the reader of a stream does, and checks what it asks for. It
// returns the verdict and the length of the last prefix.
func probe(t testing.TB, data []byte) (v macho.Verdict, read int64) {
	t.Helper()
	size := int64(len(data))
	for calls := 0; ; calls++ {
		v, need := macho.Probe(data[:read], size)
		if v != macho.NeedMore {
			if need != 0 {
				t.Fatalf("verdict %d with need %d, want 0", v, need)
			}
			return v, read
		}
		if need <= read || need > size {
			t.Fatalf("with %d of %d bytes Probe needs %d", read, size, need)
		}
		if calls > 1000 {
			t.Fatalf("no verdict after %d calls and %d bytes", calls, read)
		}
		read = need
	}
}

func TestProbeGoldens(t *testing.T) {
	for _, name := range goldenNames(t) {
		data := readGolden(t, "A", name)
		v, read := probe(t, data)
		if v != macho.Signed {
			t.Errorf("%s: verdict %d, want Signed", name, v)
		}
		if read > 32<<10 {
			t.Errorf("%s: Probe read %d bytes", name, read)
		}
		// A longer prefix than needed must give the same verdict.
		for n := read; n <= int64(len(data)); n += 1 + (int64(len(data))-read)/50 {
			if v, need := macho.Probe(data[:n], int64(len(data))); v != macho.Signed || need != 0 {
				t.Fatalf("%s: Probe of %d bytes = %d, %d", name, n, v, need)
			}
		}
		if !macho.IsMachO(data[:8]) {
			t.Errorf("%s: IsMachO says no", name)
		}
	}
}

func TestProbeUnsigned(t *testing.T) {
	be := binary.BigEndian
	// Minor 0, major 65: a class of Java 21.
	class := be.AppendUint32(be.AppendUint32(nil, 0xcafebabe), 65)
	class = append(class, make([]byte, 5000)...)
	for _, test := range []struct {
		name    string
		data    []byte
		maxRead int64
	}{
		{"empty", nil, 0},
		{"short", []byte{0xcf, 0xfa, 0xed, 0xfe}, 0},
		{"text", []byte("#!/bin/sh\necho hello\n"), 8},
		{"Java class", class, 8 + 65*20}, // the table of a fat image of 65 slices
		{"ELF", append([]byte("\x7fELF\x02\x01\x01\x00"), make([]byte, 64)...), 8},
	} {
		v, read := probe(t, test.data)
		if v != macho.Unsigned || read > test.maxRead {
			t.Errorf("%s: verdict %d after %d bytes, want Unsigned after at most %d", test.name, v, read, test.maxRead)
		}
		report, err := macho.Verify(macho.Bytes(test.data))
		if err != nil || len(report.Slices) != 0 {
			t.Errorf("%s: Verify = %+v, %v, want no slices", test.name, report, err)
		}
	}
}

// TestFixed repairs images in every way. Nothing in the FixedPrefix may change, whatever prefix it was computed from.
func TestFixed(t *testing.T) {
	thin := 0
	for _, c := range matrixA() {
		size := int64(len(c.Data))
		fixed := macho.FixedPrefix(c.Data, size)
		if len(c.Layouts) > 1 && fixed != 0 {
			t.Errorf("%s: %d bytes of a fat file", c.Name, fixed)
		}
		if fixed > 0 {
			thin++
		}
		_, read := probe(t, c.Data)
		for _, n := range []int64{0, 4, 28, read, read + 100} {
			if got := macho.FixedPrefix(c.Data[:min(n, size)], size); got != 0 && got != fixed {
				t.Errorf("%s: %d from %d bytes, %d from all", c.Name, got, n, fixed)
			}
		}
		for _, policy := range []macho.CMSPolicy{macho.CMSKeep, macho.CMSAdhoc} {
			damaged, _ := rewrite(c.Data, hashA, hashB)
			got := bytes.Clone(damaged)
			if _, err := (macho.Config{OnCMS: policy}).Repair(macho.Bytes(got)); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got[:fixed], damaged[:fixed]) {
				t.Errorf("%s: a repair changes what lies before %d", c.Name, fixed)
			}
		}
	}
	if thin == 0 {
		t.Error("nothing was fixed in any image")
	}
	for _, name := range goldenNames(t) {
		a, b := readGolden(t, "A", name), readGolden(t, "B", name)
		damaged, _ := rewrite(a, hashA, hashB)
		if fixed := macho.FixedPrefix(a, int64(len(a))); !bytes.Equal(damaged[:fixed], b[:fixed]) {
			t.Errorf("%s: the images differ before %d by more than the hash", name, fixed)
		}
	}
}
