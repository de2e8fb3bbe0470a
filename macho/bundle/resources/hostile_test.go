package resources

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// binaryList encodes objects with references of a byte and offsets of four. at, if not nil, overrides offsets.
func binaryList(objects [][]byte, at map[int]uint32) []byte {
	out := []byte("bplist00")
	var offsets []uint32
	for _, o := range objects {
		offsets = append(offsets, uint32(len(out)))
		out = append(out, o...)
	}
	for i, off := range at {
		offsets[i] = off
	}
	table := len(out)
	for _, off := range offsets {
		out = binary.BigEndian.AppendUint32(out, off)
	}
	out = append(out, 0, 0, 0, 0, 0, 0, 4, 1)
	for _, n := range []uint64{uint64(len(objects)), 0, uint64(table)} {
		out = binary.BigEndian.AppendUint64(out, n)
	}
	return out
}

// A binary list can be small and claim many values: by sharing the bytes of objects, or objects.
func TestSmallBinaryLists(t *testing.T) {
	// fan is levels arrays of n references to the next one.
	fan := func(levels, n int) (objects [][]byte) {
		for i := range levels {
			objects = append(objects, append([]byte{0xa0 | byte(n)}, slices.Repeat([]byte{byte(i + 1)}, n)...))
		}
		return append(objects, []byte{0x09})
	}
	for _, test := range []struct {
		name string
		list []byte
		want string
	}{
		{"a dictionary", binaryList([][]byte{{0xd1, 1, 2}, {0x51, 'a'}, {0x09}}, nil), ""},
		{"a dictionary as a key", binaryList([][]byte{{0xd1, 1, 2}, {0xd1, 2, 2}, {0x51, 'a'}}, nil), "damaged"},
		{"two objects at one offset", binaryList([][]byte{{0xd1, 1, 2}, {0x51, 'a'}, {0x09}}, map[int]uint32{2: 11}), "overlap"},
		{"an object in a string", binaryList([][]byte{{0xd1, 1, 2}, {0x52, 0x09, 'a'}, {0x09}}, map[int]uint32{2: 12}), "overlap"},
		{"an object that nothing refers to", binaryList([][]byte{{0xd1, 1, 1}, {0x51, 'a'}, {0x09}}, map[int]uint32{2: 8}), "overlap"},
		{"few shared objects", binaryList(fan(2, 4), nil), ""},
		{"many shared objects", binaryList(fan(12, 14), nil), "more values than bytes"},
		{"a long string 14 times", binaryList([][]byte{
			append([]byte{0xae}, slices.Repeat([]byte{1}, 14)...), append([]byte{0x5f, 0x11, 0x10, 0}, strings.Repeat("x", 4096)...),
		}, nil), ""},
		// What CoreFoundation refuses (CFBinaryPList.c), in a value that nobody reads.
		{"a date of 8 bytes", binaryList([][]byte{append([]byte{0x33}, make([]byte, 8)...)}, nil), ""},
		{"a date of 1 byte", binaryList([][]byte{append([]byte{0x30}, make([]byte, 8)...)}, nil), "damaged"},
		{"a real number of 4 bytes", binaryList([][]byte{{0x22, 0, 0, 0, 0}}, nil), ""},
		{"a real number of 2 bytes", binaryList([][]byte{{0x21, 0, 0}}, nil), "damaged"},
		{"an integer of 16 bytes", binaryList([][]byte{append([]byte{0x14}, make([]byte, 16)...)}, nil), ""},
		{"a UID of 4 bytes", binaryList([][]byte{{0x83, 0, 0, 0, 1}}, nil), ""},
		{"a UID of 8 bytes", binaryList([][]byte{append([]byte{0x87}, make([]byte, 8)...)}, nil), "damaged"},
		{"null", binaryList([][]byte{{0x00}}, nil), "damaged"},
		{"255 objects", binaryList(append([][]byte{{0xa1, 254}}, slices.Repeat([][]byte{{0x09}}, 254)...), nil), ""},
		{"256 objects, which a byte counts", binaryList(append([][]byte{{0xa1, 254}}, slices.Repeat([][]byte{{0x09}}, 255)...), nil), "damaged"},
		{"half a surrogate pair", binaryList([][]byte{{0x61, 0xd8, 0}}, nil), "not text"},
		{"the other half", binaryList([][]byte{{0x62, 0, 'a', 0xdc, 0}}, nil), "not text"},
		{"a surrogate pair", binaryList([][]byte{{0x62, 0xd8, 0, 0xdc, 0}}, nil), ""},
	} {
		err := (&binaryCheck{data: test.list}).check()
		if err == nil != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

// What checking a list allocates is bounded by its bytes, whatever they claim.
func TestBinaryListMemory(t *testing.T) {
	// Dictionaries that are each other's keys, and claim more keys than there are objects.
	const levels, keys = 16, 200_000
	var objects [][]byte
	for i := range levels {
		objects = append(objects, append(binary.BigEndian.AppendUint32([]byte{0xdf, 0x12}, keys), byte(i+1)))
	}
	objects = append(objects, append([]byte{0x51, 'a'}, slices.Repeat([]byte{levels}, 2*keys+levels)...))
	list := binaryList(objects, nil)
	got := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			if (&binaryCheck{data: list}).check() == nil {
				b.Fatal("it is accepted")
			}
		}
	}).AllocedBytesPerOp()
	if got > int64(len(list)) {
		t.Errorf("%d bytes are allocated for a list of %d", got, len(list))
	}
}

// An Info.plist that names many executables takes no more memory than one with other keys, but for the keys.
func TestManyExecutables(t *testing.T) {
	allocated := func(key string) int64 {
		var s strings.Builder
		s.WriteString("<plist><dict>")
		for i := range 17 {
			fmt.Fprintf(&s, "<key>%s%d</key><array>%s</array>", key, i, strings.Repeat("<dict/>", 8500))
		}
		s.WriteString("</dict></plist>")
		data := []byte(s.String())
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		MainExecutable(data)
		runtime.ReadMemStats(&after)
		return int64(after.TotalAlloc - before.TotalAlloc)
	}
	other := allocated("a")
	for _, key := range []string{"CFBundleExecutable-", "NSExecutable~", "MainHTML-"} {
		if n := allocated(key); n > other+4096 {
			t.Errorf("%s allocates %d bytes, other keys %d", key, n, other)
		}
	}
}
