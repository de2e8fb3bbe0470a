package macho_test

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"narseal/macho"
	"narseal/macho/machotest"
)

// fat returns a fat header with records {offset, size}, followed by data at 4096.
func fat(fat64 bool, data []byte, records ...[2]uint64) []byte {
	be := binary.BigEndian
	magic := uint32(0xcafebabe)
	if fat64 {
		magic = 0xcafebabf
	}
	b := be.AppendUint32(be.AppendUint32(nil, magic), uint32(len(records)))
	for _, r := range records {
		b = be.AppendUint32(be.AppendUint32(b, 0x0100000c), 0)
		if fat64 {
			b = be.AppendUint64(be.AppendUint64(b, r[0]), r[1])
			b = be.AppendUint64(b, 0)
		} else {
			b = be.AppendUint32(be.AppendUint32(b, uint32(r[0])), uint32(r[1]))
			b = be.AppendUint32(b, 0)
		}
	}
	return append(append(b, make([]byte, 4096-len(b))...), data...)
}

func TestFatFaults(t *testing.T) {
	one, _ := machotest.Image{Directories: []machotest.Directory{{PageShift: 12}}}.Build()
	n := uint64(len(one))
	two := append(append([]byte(nil), one...), one...)
	for _, test := range []struct {
		name   string
		data   []byte
		reason string
	}{
		{"size past the end", fat(false, one, [2]uint64{4096, n + 1}), "but the file ends"},
		{"size of 2^32-1", fat(false, one, [2]uint64{4096, 1<<32 - 1}), "but the file ends"},
		{"size that overflows", fat(true, one, [2]uint64{4096, 1<<64 - 4096}), "but the file ends"},
		{"size that is negative", fat(true, one, [2]uint64{4096, 1 << 63}), "but the file ends"},
		{"one slice cut off", fat(false, one, [2]uint64{4096, n}, [2]uint64{4096 + 16, 1 << 20}), "overlaps"},
		{"second in the first", fat(false, two, [2]uint64{4096, 2 * n}, [2]uint64{4096 + n, n}), "overlaps"},
		{"first in the second", fat(true, two, [2]uint64{4096 + n, n}, [2]uint64{4096, 2 * n}), "overlaps"},
		{"the same twice", fat(false, one, [2]uint64{4096, n}, [2]uint64{4096, n}), "overlaps"},
		{"an empty one between", fat(false, two, [2]uint64{4096, n + 1}, [2]uint64{4097, 0}, [2]uint64{4096 + n, n}), "overlaps"},
		{"two bytes later", fat(false, one, [2]uint64{4096, n}, [2]uint64{4098, 1}), "overlaps"},
		{"over the table", fat(false, append(make([]byte, 16), one...), [2]uint64{20, 4}, [2]uint64{4096 + 16, n + 1}), "but the file ends"},
	} {
		t.Run(test.name, func(t *testing.T) { checkRefused(t, test.data, test.reason) })
	}
}

// TestFatHeaderOverlap checks a slice that begins within the fat table.
func TestFatHeaderOverlap(t *testing.T) {
	one, _ := machotest.Image{Directories: []machotest.Directory{{PageShift: 12}}}.Build()
	data := append(fat(false, nil, [2]uint64{28, uint64(len(one))})[:28], one...)
	// The table is well-formed, but the kernel cannot map the slice.
	if s := mustVerify(t, macho.Bytes(data)).Slices; len(s) != 1 || s[0].Status != macho.StatusRefused || !strings.HasPrefix(s[0].Reason, "slice-alignment: ") {
		t.Fatalf("a slice right after the table: %+v", s)
	}
	data = append(fat(false, nil, [2]uint64{24, uint64(len(one))})[:24], one...)
	checkRefused(t, data, "overlaps the fat header")
}

// TestFatSkipped checks fat images some or all of whose slices have no signature.
func TestFatSkipped(t *testing.T) {
	signed, _ := machotest.Image{Directories: []machotest.Directory{{PageShift: 12}}}.Build()
	unsigned := append([]byte(nil), signed...)
	binary.LittleEndian.PutUint32(unsigned[32+72+24+72:], 0x26) // LC_FUNCTION_STARTS for LC_CODE_SIGNATURE
	archive := append([]byte("!<arch>\n"), make([]byte, 100)...)
	object := binary.LittleEndian.AppendUint32(nil, 0xfeedfacf)
	object = append(object, make([]byte, 28)...)
	object[12] = 1 // MH_OBJECT
	slice := func(b []byte) machotest.Slice { return machotest.Slice{CPU: 7, Data: b} }
	arm64 := func(b []byte) machotest.Slice { return machotest.Slice{CPU: 0x0100000c, Data: b} }

	for _, test := range []struct {
		name   string
		data   []byte
		want   string // statuses
		signed bool
	}{
		{"unsigned", unsigned, "unsigned", false},
		{"object", object, "unsigned", false},
		{"fat of unsigned", machotest.Fat(false, false, slice(unsigned), slice(unsigned)), "unsigned unsigned", false},
		{"fat of unsigned and signed", machotest.Fat(false, false, slice(unsigned), arm64(signed)), "unsigned valid", true},
		{"fat of archive and object", machotest.Fat(true, false, slice(archive), slice(object)), "unsigned unsigned", false},
		{"fat static library", machotest.Fat(false, false, slice(archive), slice(archive)), "", false},
		{"fat in fat", machotest.Fat(false, false, slice(machotest.Fat(false, false, slice(signed)))), "", false},
		{"thin cut within its header", signed[:20], "unsigned", false},
		{"thin cut within its load commands", signed[:32+72], "unsigned", false},
		{"thin cut after its load commands", signed[:32+72+24+72+16], "malformed", true},
		{"thin cut within its code", signed[:8000], "malformed", true},
		{"thin cut within its signature", signed[:len(signed)-20], "malformed", true},
	} {
		var got []string
		for _, s := range mustVerify(t, macho.Bytes(test.data)).Slices {
			got = append(got, string(s.Status))
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s: %v, want %q", test.name, got, test.want)
		}
		v, read := probe(t, test.data)
		if (v == macho.Signed) != test.signed {
			t.Errorf("%s: Probe says %d after %d bytes, want signed %v", test.name, v, read, test.signed)
		}
	}
}

// TestCuts truncates an image at every byte. It is valid only if nothing but padding is lost.
func TestCuts(t *testing.T) {
	whole := matrixCase(t, "special").Data
	const padding = 7
	for n := range whole[:len(whole)-padding] {
		cut := whole[:n]
		for _, s := range mustVerify(t, macho.Bytes(cut)).Slices {
			if s.Status != macho.StatusMalformed && s.Status != macho.StatusUnsigned {
				t.Fatalf("cut at %d of %d: status %s", n, len(whole), s.Status)
			}
		}
		probe(t, cut)
	}
}

// TestFatBomb checks an image with as many slices as the table allows, all of the same bytes. Neither their pages nor
// their load commands may be read once for each slice.
func TestFatBomb(t *testing.T) {
	one, _ := machotest.Image{CodeSize: 1 << 20, Directories: []machotest.Directory{{PageShift: 12}}}.Build()
	for _, shift := range []uint64{0, 16} {
		var records [][2]uint64
		for i := range uint64(40) {
			records = append(records, [2]uint64{4096 + i*shift, uint64(len(one)) - i*shift})
		}
		data := fat(false, one, records...)
		report := mustVerify(t, macho.Bytes(data))
		if report.Hashed > int64(len(data)) {
			t.Errorf("%d bytes hashed of an image of %d", report.Hashed, len(data))
		}
		if report.OK() {
			t.Error("overlapping slices hold")
		}
		checkRefused(t, data, "overlaps")
	}
}

// TestLengthsAllocateNothing checks that no length field makes the parser allocate.
func TestLengthsAllocateNothing(t *testing.T) {
	data, l := refusalImage()
	be, le := binary.BigEndian, binary.LittleEndian
	for name, damage := range map[string]func(b []byte){
		"slots":         func(b []byte) { be.PutUint32(b[l.Blobs[0]+28:], 1<<32-1) },
		"special slots": func(b []byte) { be.PutUint32(b[l.Blobs[0]+24:], 1<<32-1) },
		"blobs":         func(b []byte) { be.PutUint32(b[l.Signature+8:], 1<<32-1) },
		"ncmds":         func(b []byte) { le.PutUint32(b[16:], 1<<32-1) },
		"sizeofcmds":    func(b []byte) { le.PutUint32(b[20:], 1<<32-1) },
		"nsects":        func(b []byte) { le.PutUint32(b[32+64:], 1<<32-1) },
		"scatter":       func(b []byte) { be.PutUint32(b[scatterAt(0):], 1<<32-1) },
		"datasize":      func(b []byte) { le.PutUint32(b[l.CommandsEnd-4:], 1<<32-1) },
	} {
		b := append([]byte(nil), data...)
		damage(b)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for _, image := range views {
			mustVerify(t, image(b))
		}
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 4<<20 {
			t.Errorf("%s: %d bytes allocated", name, grown)
		}
	}
}

// TestManyCommands checks a megabyte of the smallest load commands: Probe must not read them once per command.
func TestManyCommands(t *testing.T) {
	const n = 1 << 17
	le := binary.LittleEndian
	b := le.AppendUint32(nil, 0xfeedfacf)
	for _, v := range []uint32{0x0100000c, 0, 2, n, n * 8, 0, 0} {
		b = le.AppendUint32(b, v)
	}
	for range n {
		b = le.AppendUint32(le.AppendUint32(b, 0x26), 8)
	}
	b = append(b, make([]byte, 1000)...)
	v, read := probe(t, b) // this bounds the number of calls
	if v != macho.Unsigned || read > 32+n*8 {
		t.Errorf("Probe says %d after %d bytes, want Unsigned after at most %d", v, read, 32+n*8)
	}
	if s := mustVerify(t, macho.Bytes(b)).Slices[0]; s.Status != macho.StatusUnsigned || s.Reason != "" {
		t.Errorf("status %s (%s)", s.Status, s.Reason)
	}
}

func TestIsMachO(t *testing.T) {
	for _, test := range []struct {
		hex  string
		want bool
	}{
		{"cffaedfe", true}, {"cefaedfe", true}, {"feedface", true}, {"feedfacf", true},
		{"cafebabe", true}, {"cafebabe00000001", true}, {"cafebabe0000002a", true},
		// A Java class, or a fat image of many slices: the next bytes tell.
		{"cafebabe0000002b", true}, {"cafebabe00000034", true}, {"cafebabe00000332", true},
		{"cafebabe00000333", false}, {"cafebabe00030000", false}, {"cafebabe00000000", false},
		{"cafebabf00000002", true}, {"cafebabf00000000", false}, {"cafebabf00010000", false},
		{"bebafeca00000001", false}, {"7f454c46", false}, {"", false}, {"cffaed", false},
	} {
		var b []byte
		fmt.Sscanf(test.hex, "%x", &b)
		if got := macho.IsMachO(b); got != test.want {
			t.Errorf("IsMachO(%s) = %v, want %v", test.hex, got, test.want)
		}
	}
}
