package macho_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"narseal/macho"
	"narseal/macho/machotest"
)

// A fat image that was cut off or damaged is malformed, also where the slice that is gone would be unsigned; what has
// nothing to do with signatures is not.
func TestBrokenTable(t *testing.T) {
	const x8664, arm64 = 0x01000007, 0x0100000c
	build := func(cpu, sub uint32, fileType uint32) []byte {
		data, _ := machotest.Image{CPU: cpu, Sub: sub, FileType: fileType, Directories: []machotest.Directory{{PageShift: 12}}}.Build()
		return data
	}
	intel, arm := build(x8664, 3, 2), build(arm64, 0, 2)
	for _, fat64 := range []bool{false, true} {
		fat := func(a, b []byte) []byte {
			return machotest.Fat(fat64, false, machotest.Slice{CPU: x8664, Sub: 3, Data: a}, machotest.Slice{CPU: arm64, Data: b})
		}
		program := "valid"
		if fat64 {
			program = "refused"
		}
		whole := fat(intel, arm)
		at := func(i int) int { // of slice i
			if fat64 {
				return int(binary.BigEndian.Uint64(whole[8+32*i+8:]))
			}
			return int(binary.BigEndian.Uint32(whole[8+20*i+8:]))
		}
		sized := func(i, n int) []byte { // with n bytes in the record of slice i
			data := bytes.Clone(whole)
			if fat64 {
				binary.BigEndian.PutUint64(data[8+32*i+16:], uint64(n))
			} else {
				binary.BigEndian.PutUint32(data[8+20*i+12:], uint32(n))
			}
			return data
		}
		beside := func(cpu uint32, data []byte) []byte {
			return machotest.Fat(fat64, false, machotest.Slice{CPU: cpu, Sub: 3, Data: data}, machotest.Slice{CPU: arm64, Data: arm})
		}
		armOnly := machotest.Fat(fat64, false, machotest.Slice{CPU: arm64, Data: arm})
		bare := machotest.Unsigned(intel)
		object := machotest.Unsigned(build(x8664, 3, 1))
		for name, c := range map[string]struct {
			data []byte
			want string
		}{
			"whole":                       {whole, program + " " + program},
			"cut in the second slice":     {whole[:len(whole)-1], program + " malformed"},
			"cut between the slices":      {whole[:at(1)-1], program + " malformed"},
			"cut in the first slice":      {whole[:at(0)+100], "malformed malformed"},
			"cut before the slices":       {whole[:at(0)-1], "malformed malformed"},
			"cut behind a table of i386":  {beside(7, intel)[:at(0)-1], "malformed malformed"},
			"cut behind a table of armv7": {beside(12, intel)[:at(0)-1], "malformed malformed"},
			"cut behind a table of i386 and Intel": {machotest.Fat(fat64, false, machotest.Slice{CPU: 7, Sub: 3, Data: intel},
				machotest.Slice{CPU: x8664, Sub: 3, Data: intel})[:at(0)-1], "malformed malformed"},
			"cut behind a table for no Mac": {machotest.Fat(fat64, false, machotest.Slice{CPU: 7, Sub: 3, Data: intel},
				machotest.Slice{CPU: 12, Data: arm})[:at(0)-1], ""},
			"arm64 has 0 bytes": {sized(1, 0), program + " malformed"}, "arm64 has 3 bytes": {sized(1, 3), program + " malformed"},
			"arm64 has 20 bytes": {sized(1, 20), program + " malformed"}, "arm64 has 100 bytes": {sized(1, 100), program + " malformed"},
			"Intel has 0 bytes": {sized(0, 0), "malformed " + program}, "Intel has 48 bytes": {sized(0, 48), "malformed " + program},
			"arm64 alone, cut in its header":   {armOnly[:len(armOnly)-len(arm)+20], "malformed"},
			"arm64 alone, cut in its commands": {armOnly[:len(armOnly)-len(arm)+100], "malformed"},
			"no bytes":                         {fat(intel, nil), program + " malformed"},
			"other bytes":                      {fat(intel, bytes.Repeat([]byte("x"), 20_000)), program + " malformed"},
			"a static library":                 {fat(intel, []byte("!<arch>\n")), program + " unsigned"},
			"unsigned, cut":                    {fat(bare, arm)[:at(0)+len(bare)], "unsigned malformed"},
			"bitcode beside objects":           {fat(object, []byte("BC\xc0\xde....")), "unsigned unsigned"},
			"libraries, cut":                   {fat([]byte("!<arch>\n"), bytes.Repeat([]byte("!<arch>\n"), 9))[:at(0)+20], ""},
			"unsigned Intel, other file":       {machotest.Fat(fat64, false, machotest.Slice{CPU: x8664, Sub: 3, Data: bare}, machotest.Slice{CPU: 7, Data: nil}), "unsigned unsigned"},
		} {
			var got []string
			for _, s := range mustVerify(t, macho.Bytes(c.data)).Slices {
				got = append(got, string(s.Status))
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("fat64 %v, %s: got %q, want %q", fat64, name, got, c.want)
			}
			// Its start shows whether it must be looked at.
			want := macho.Signed
			if strings.TrimSpace(strings.ReplaceAll(c.want, "unsigned", "")) == "" {
				want = macho.Unsigned
			}
			if v, _ := probe(t, c.data); v != want {
				t.Errorf("fat64 %v, %s: verdict %d, want %d", fat64, name, v, want)
			}
		}
	}
}

// A fat image that was cut anywhere is malformed, if its table still names an architecture of Macs.
func TestCutFatImage(t *testing.T) {
	architectures := map[string]uint32{"i386": 7, "x86_64": 0x01000007, "armv7": 12, "arm64": 0x0100000c, "arm64_32": 0x0200000c, "ppc": 18}
	for _, names := range []string{"i386 arm64", "armv7 arm64", "i386 x86_64 arm64", "x86_64 arm64_32", "i386 x86_64", "ppc x86_64 i386", "arm64"} {
		for _, fat64 := range []bool{false, true} {
			var all []machotest.Slice
			for _, name := range strings.Fields(names) {
				data, _ := machotest.Image{CPU: architectures[name], Directories: []machotest.Directory{{PageShift: 12}}}.Build()
				all = append(all, machotest.Slice{CPU: architectures[name], Data: data})
			}
			whole := machotest.Fat(fat64, false, all...)
			record := 20
			if fat64 {
				record = 32
			}
			mac := 1 // records up to the first for a processor of Macs
			for all[mac-1].CPU != architectures["x86_64"] && all[mac-1].CPU != architectures["arm64"] {
				mac++
			}
			for n := 8; n < len(whole); n++ {
				if n > 300 {
					n = min(n+1000, len(whole)-1)
				}
				if got := mustVerify(t, macho.Bytes(whole[:n])); got.OK() != (n < 8+mac*record) {
					t.Fatalf("fat64 %v, %s, cut at %d of %d: %+v", fat64, names, n, len(whole), got.Slices)
				}
			}
		}
	}
	for name, data := range map[string][]byte{
		"a static library":   machotest.Fat(false, false, machotest.Slice{CPU: 7, Data: []byte("!<arch>\n")}),
		"no Mac's processor": machotest.Fat(false, false, machotest.Slice{CPU: 12, Data: []byte("x")})[:30],
	} {
		if s := mustVerify(t, macho.Bytes(data)).Slices; len(s) != 0 {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// The kernel refuses a slice whose load commands end past it, even if the file has their bytes (parse_machfile), and one
// with malformed load commands. A program without a signature, for a processor that needs none, is of no interest.
func TestShortRecord(t *testing.T) {
	const x8664, arm64 = 0x01000007, 0x0100000c
	build := func(cpu, sub uint32) []byte {
		data, _ := machotest.Image{CPU: cpu, Sub: sub, Directories: []machotest.Directory{{PageShift: 12}}}.Build()
		return data
	}
	intel, arm := build(x8664, 3), build(arm64, 0)
	end := 32 + int(binary.LittleEndian.Uint32(arm[20:])) // of the load commands
	for _, fat64 := range []bool{false, true} {
		for short := range 2 {
			for size := range end {
				whole := machotest.Fat(fat64, false, machotest.Slice{CPU: x8664, Sub: 3, Data: intel}, machotest.Slice{CPU: arm64, Data: arm})
				alone := machotest.Fat(fat64, false, []machotest.Slice{{CPU: x8664, Sub: 3, Data: intel}, {CPU: arm64, Data: arm}}[short])
				for _, data := range [][]byte{whole, alone} {
					record := short
					if len(data) == len(alone) {
						record = 0
					}
					if fat64 {
						binary.BigEndian.PutUint64(data[8+32*record+16:], uint64(size))
					} else {
						binary.BigEndian.PutUint32(data[8+20*record+12:], uint32(size))
					}
					s := mustVerify(t, macho.Bytes(data)).Slices
					if len(s) <= record || s[record].Status != macho.StatusMalformed {
						t.Fatalf("fat64 %v, slice %d has %d bytes: %+v", fat64, record, size, s)
					}
					if v, _ := probe(t, data); v != macho.Signed {
						t.Fatalf("fat64 %v, slice %d has %d bytes: verdict %d", fat64, record, size, v)
					}
				}
			}
		}
	}
	bare := machotest.Unsigned(intel)
	binary.LittleEndian.PutUint32(bare[32+4:], 4) // cmdsize
	for _, c := range []struct{ data, want string }{
		{string(machotest.Fat(false, false, machotest.Slice{CPU: x8664, Sub: 3, Data: bare}, machotest.Slice{CPU: arm64, Data: arm})), "malformed valid"},
		{string(machotest.Fat(false, false, machotest.Slice{CPU: x8664, Sub: 3, Data: bare})), "unsigned"},
	} {
		var got []string
		for _, s := range mustVerify(t, macho.Bytes(c.data)).Slices {
			got = append(got, string(s.Status))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("malformed load commands: %q, want %q", got, c.want)
		}
	}
}
