package macho_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"narseal/macho"
	"narseal/macho/machotest"
)

// TestRules verifies and repairs images that break one rule each, and images that just satisfy it.
func TestRules(t *testing.T) {
	broken, satisfied := map[string]bool{}, map[string]bool{}
	for _, c := range machotest.Rules() {
		t.Run(c.Rule+"/"+c.Name, func(t *testing.T) {
			check := func(report *macho.Report, ok macho.Status) {
				t.Helper()
				refused := 0
				for _, s := range signedSlices(report) {
					switch {
					case c.Breaks && s.Status == macho.StatusRefused && strings.HasPrefix(s.Reason, c.Rule+": ") && strings.Contains(s.Reason, "of xnu)"):
						refused++
					case c.Breaks || s.Status != ok && s.Status != macho.StatusValid:
						t.Errorf("slice %s is %s (%s)", s.Arch, s.Status, s.Reason)
					}
				}
				if c.Breaks == report.OK() || c.Breaks && refused == 0 {
					t.Errorf("%d slices are refused: %+v", refused, report.Slices)
				}
			}
			for _, image := range views {
				check(mustVerify(t, image(c.Data)), macho.StatusValid)
			}

			// Damage to a slot is repaired, but a refused image stays refused.
			damaged := bytes.Clone(c.Data)
			s := signedSlices(mustVerify(t, macho.Bytes(c.Data)))[0]
			if s.Signature == "cms" || c.Name == "two limits" {
				return // other tests repair these
			}
			damaged[s.Offset+3000] ^= 1
			report, err := macho.Repair(macho.Bytes(damaged))
			if err != nil {
				t.Fatal(err)
			}
			check(report, macho.StatusRepaired)
			check(mustVerify(t, macho.Bytes(damaged)), macho.StatusValid)
		})
		if c.Breaks {
			broken[c.Rule] = true
		} else {
			satisfied[c.Rule] = true
		}
	}
	for rule := range broken {
		if !satisfied[rule] {
			t.Errorf("no image satisfies %s", rule)
		}
	}
}

// TestTwoLimits checks that Repair does not write where two limits disagree on what a slot covers.
func TestTwoLimits(t *testing.T) {
	for _, c := range machotest.Rules() {
		if c.Name != "two limits" {
			continue
		}
		damaged := bytes.Clone(c.Data)
		damaged[3000] ^= 1
		got := bytes.Clone(damaged)
		report, err := macho.Repair(macho.Bytes(got))
		if err != nil {
			t.Fatal(err)
		}
		if s := report.Slices[0]; s.Status != macho.StatusRefused || !strings.Contains(s.Reason, "not repaired, stale code slots: 1") {
			t.Errorf("%s (%s)", s.Status, s.Reason)
		}
		if !bytes.Equal(got, damaged) {
			t.Error("the image was written to")
		}
		return
	}
	t.Error("no such image")
}

// TestNeedsSignature checks which unsigned code does not run on a Mac.
func TestNeedsSignature(t *testing.T) {
	build := func(cpu, fileType uint32) []byte {
		data, _ := machotest.Image{CPU: cpu, FileType: fileType, Directories: []machotest.Directory{{PageShift: 12}}}.Build()
		return machotest.Unsigned(data)
	}
	const x8664, arm64, arm64v32 = 0x01000007, 0x0100000c, 0x0200000c
	program := build(arm64, 2)
	for _, test := range []struct {
		name string
		data []byte
		want bool
	}{
		{"program", program, true},
		{"object file", build(arm64, 1), false},
		{"dylib", build(arm64, 6), true},
		{"dylinker", build(arm64, 7), true},
		{"bundle", build(arm64, 8), true},
		{"dSYM", build(arm64, 10), false},
		{"kernel extension", build(arm64, 11), false},
		{"x86_64", build(x8664, 2), false},
		{"arm64_32", build(arm64v32, 2), false},
		{"built for macOS", machotest.ReplaceUUID(program, 0x32, 1), true},
		{"built for iOS", machotest.ReplaceUUID(program, 0x32, 2), false},
		{"built for a simulator", machotest.ReplaceUUID(program, 0x32, 7), false},
		{"macOS, old command", machotest.ReplaceUUID(program, 0x24, 0), true},
		{"iOS, old command", machotest.ReplaceUUID(program, 0x25, 0), false},
		{"tvOS, old command", machotest.ReplaceUUID(program, 0x2f, 0), false},
		{"watchOS, old command", machotest.ReplaceUUID(program, 0x30, 0), false},
	} {
		for name, data := range map[string][]byte{
			"thin": test.data,
			"fat":  machotest.Fat(false, false, machotest.Slice{CPU: 7, Data: []byte("!<arch>\n")}, machotest.Slice{CPU: arm64, Data: test.data}),
		} {
			report := mustVerify(t, macho.Bytes(data))
			s := report.Slices[len(report.Slices)-1]
			if s.Status != macho.StatusUnsigned || s.NeedsSignature != test.want || s.OK() == test.want || report.OK() == test.want {
				t.Errorf("%s, %s: status %s, needs a signature: %v", test.name, name, s.Status, s.NeedsSignature)
			}
		}
	}
}

// checkUnsigned compares the slices from a prefix of an unsigned file with what Verify says of the whole file.
func checkUnsigned(t *testing.T, data []byte, prefix int64) (n int) {
	t.Helper()
	report := mustVerify(t, macho.Bytes(data))
	report.Slices = slices.DeleteFunc(report.Slices, func(s macho.Slice) bool { return s.Status == macho.StatusUnsigned && !s.NeedsSignature })
	got := &macho.Report{Slices: macho.UnsignedSlices(data[:prefix], int64(len(data)))}
	if len(got.Slices)+len(report.Slices) > 0 && !equalReports(got, report) {
		t.Errorf("the slices from a prefix of %d bytes are %+v, Verify's %+v", prefix, got, report)
	}
	return len(got.Slices)
}

// TestUnsignedSlices compares what follows from a prefix with what Verify says.
func TestUnsignedSlices(t *testing.T) {
	signed, _ := machotest.Image{Directories: []machotest.Directory{{PageShift: 12}}}.Build()
	slice := machotest.Slice{CPU: 0x0100000c, Data: machotest.Unsigned(signed)}
	other := machotest.Slice{CPU: 0x01000007, Data: machotest.Unsigned(signed)}
	for _, test := range []struct {
		name string
		data []byte
		want int
	}{
		{"thin", slice.Data, 1},
		{"fat", machotest.Fat(false, false, other, slice), 2},
		{"fat64", machotest.Fat(true, true, slice, machotest.Slice{CPU: 7, Data: []byte("!<arch>\n")}), 1},
		{"text", []byte("#!/bin/sh\necho"), 0},
		{"cut", slice.Data[:40], 1},
		{"cut within the header", slice.Data[:20], 0},
		{"cut within the magic", slice.Data[:3], 0},
		{"empty", nil, 0},
		{"static library", machotest.Fat(false, false, machotest.Slice{CPU: 7, Data: []byte("!<arch>\n")}), 0},
	} {
		v, read := probe(t, test.data)
		if n := checkUnsigned(t, test.data, read); v != macho.Unsigned || n != test.want {
			t.Errorf("%s: verdict %d, %d slices, want %d", test.name, v, n, test.want)
		}
	}
	if n := len(macho.UnsignedSlices(slice.Data[:100], int64(len(slice.Data)))); n != 0 {
		t.Errorf("%d slices from too short a prefix", n)
	}
}

// TestManySlices checks fat images with more slices than a Java class can be told from by its count.
func TestManySlices(t *testing.T) {
	small, _ := machotest.Image{CodeSize: 8192, CPU: 0x0100000c, Directories: []machotest.Directory{{PageShift: 12}}}.Build()
	build := func(n int) []byte {
		all := make([]machotest.Slice, n)
		for i := range all {
			all[i] = machotest.Slice{CPU: 7, Sub: uint32(i), Data: []byte("!<arch>\n")}
		}
		// The first record looks like the constant pool of a class.
		all[0].CPU = 0x00200a00
		all[n-1] = machotest.Slice{CPU: 0x0100000c, Data: small}
		return machotest.Fat(false, false, all...)
	}
	for n, warned := range map[int]bool{42: false, 43: false, 65: false, 204: false, 205: true, 818: true} {
		data := build(n)
		v, _ := probe(t, data)
		report := mustVerify(t, macho.Bytes(data))
		if !macho.IsMachO(data[:8]) || !macho.IsMachO(data) || v != macho.Signed || len(report.Slices) != n {
			t.Fatalf("%d slices: verdict %d, %d slices in the report", n, v, len(report.Slices))
		}
		if s := report.Slices[n-1]; s.Status != macho.StatusValid || len(s.Warnings) > 0 != warned {
			t.Errorf("%d slices: the last one is %s (%s), %q", n, s.Status, s.Reason, s.Warnings)
		}
		if n <= 42 {
			continue
		}
		// The kernel refuses the whole file if one record is wrong.
		for off, value := range map[int]uint32{8 + 8: 20, 8 + 12: 1 << 31, 8 + 20 + 4: 2, 8 + 20 + 12: 20_000} {
			wrong := bytes.Clone(data)
			binary.BigEndian.PutUint32(wrong[off:], value)
			if len(mustVerify(t, macho.Bytes(wrong)).Slices) != 0 {
				t.Errorf("%d slices: an image, although %d is at %d", n, value, off)
			}
			if v, _ := probe(t, wrong); v != macho.Unsigned {
				t.Errorf("%d slices: verdict %d, although %d is at %d", n, v, value, off)
			}
		}
	}
	if data := build(819); macho.IsMachO(data) || len(mustVerify(t, macho.Bytes(data)).Slices) != 0 {
		t.Error("an image of 819 slices")
	}
}

// TestShortDirectory checks the warning for a CodeDirectory that only old kernels accept.
func TestShortDirectory(t *testing.T) {
	for id, warned := range map[string]bool{"x": true, strings.Repeat("x", 100): false} {
		data, _ := machotest.Image{CodeSize: 4096, Directories: []machotest.Directory{{Version: 0x20001, HashType: 1, PageShift: 12, Identifier: id}}}.Build()
		if s := mustVerify(t, macho.Bytes(data)).Slices[0]; s.Status != macho.StatusValid || len(s.Warnings) > 0 != warned {
			t.Errorf("identifier of %d bytes: %s (%s), %q", len(id), s.Status, s.Reason, s.Warnings)
		}
	}
}

// TestSegmentWarnings checks the warnings for what only some versions of dyld refuse.
func TestSegmentWarnings(t *testing.T) {
	const size = 20_480
	whole := machotest.Image{CodeSize: size, FileType: 6, Directories: []machotest.Directory{{PageShift: 12}}}
	data, _ := whole.Build()
	end := len(data)
	for _, test := range []struct {
		name   string
		change func(*machotest.Image)
		want   string
	}{
		{"as it should be", func(*machotest.Image) {}, ""},
		{"past the slice", func(im *machotest.Image) { im.Linkedit = [2]int{size, end - size + 1} }, `segment "__LINKEDIT" at 20480 to`},
		{"all of __LINKEDIT", func(im *machotest.Image) { im.Linkedit = [2]int{size, end - size} }, ""},
		{"begins before __LINKEDIT", func(im *machotest.Image) { im.Linkedit = [2]int{size + 1, end - size - 1} }, "is not inside __LINKEDIT"},
		{"ends after __LINKEDIT", func(im *machotest.Image) { im.Linkedit = [2]int{size, end - size - 1} }, "is not inside __LINKEDIT"},
		{"a multiple of 8", func(im *machotest.Image) { im.CodeSize, im.Misaligned = size-16, 8 }, ""},
		{"a multiple of 4", func(im *machotest.Image) { im.CodeSize, im.Misaligned = size-16, 4 }, "is not at a multiple of 8"},
		{"a multiple of 4, 32 bits", func(im *machotest.Image) { im.Is32, im.CodeSize, im.Misaligned = true, size-16, 4 }, ""},
		{"a multiple of 2, 32 bits", func(im *machotest.Image) { im.Is32, im.CodeSize, im.Misaligned = true, size-16, 2 }, "is not at a multiple of 4"},
		{"content before it", func(im *machotest.Image) { im.Functions = [2]int{size - 16, 16} }, ""},
		{"content after it", func(im *machotest.Image) { im.Functions = [2]int{end, 16} }, ""},
		{"content over its first byte", func(im *machotest.Image) { im.Functions = [2]int{size - 15, 16} }, "function starts at 20465 to 20481 overlaps the signature"},
		{"content over its last byte", func(im *machotest.Image) { im.Functions = [2]int{end - 1, 1} }, "overlaps the signature"},
		{"not loaded", func(im *machotest.Image) { im.FileType, im.Linkedit = 10, [2]int{0, 1} }, ""},
	} {
		im := whole
		test.change(&im)
		data, _ := im.Build()
		s := mustVerify(t, macho.Bytes(data)).Slices[0]
		if s.Status != macho.StatusValid || len(s.Warnings) > 1 || strings.Join(s.Warnings, "") != "" != (test.want != "") || !strings.Contains(strings.Join(s.Warnings, ""), test.want) {
			t.Errorf("%s: %s (%s), %q, want %q", test.name, s.Status, s.Reason, s.Warnings, test.want)
		}
	}
}

// TestAdhocAllSlices checks that signatures by a certificate become ad-hoc in all slices of a file or in none.
func TestAdhocAllSlices(t *testing.T) {
	build := func(cpu uint32) machotest.Slice {
		data, _ := machotest.Image{CPU: cpu, Directories: []machotest.Directory{{PageShift: 12, Team: "TEAM"}}, Blobs: []machotest.Blob{
			{Slot: 2, Magic: machotest.Requirements, Data: make([]byte, 40)}, {Slot: 0x10000, Magic: machotest.CMS, Data: []byte("certificate")},
		}}.Build()
		return machotest.Slice{CPU: cpu, Data: data}
	}
	data := machotest.Fat(false, false, build(0x0100000c), build(0x01000007))
	second := mustVerify(t, macho.Bytes(data)).Slices[1].Offset
	damaged := bytes.Clone(data)
	damaged[second+3000] ^= 1
	touched := []macho.Range{{Off: second + 3000, Len: 1}}
	adhoc := macho.Config{OnCMS: macho.CMSAdhoc}
	for name, ranges := range map[string][]macho.Range{"all": nil, "touched": touched} {
		got := bytes.Clone(damaged)
		report, err := repair(adhoc, macho.Bytes(got), ranges)
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range report.Slices {
			after := mustVerify(t, macho.Bytes(got)).Slices[i]
			if s.Status != macho.StatusRepaired || s.Signature != "adhoc" || after.Status != macho.StatusValid || after.Signature != "adhoc" {
				t.Errorf("%s: slice %d: %s, %s, then %s (%s)", name, i, s.Status, s.Signature, after.Status, after.Reason)
			}
		}
	}

	// A slice that cannot become ad-hoc keeps the others as they are.
	stuck := bytes.Clone(damaged)
	at := bytes.Index(stuck, []byte{0xfa, 0xde, 0x0c, 0x02})
	stuck[at+37] = 9 // hash type
	got := bytes.Clone(stuck)
	report, err := adhoc.Repair(macho.Bytes(got))
	if err != nil {
		t.Fatal(err)
	}
	if s := report.Slices[1]; s.Status != macho.StatusCMS || !strings.Contains(s.Reason, "slice arm64") || report.Slices[0].Status != macho.StatusUnsupported {
		t.Errorf("%s (%s) beside %s", s.Status, s.Reason, report.Slices[0].Status)
	}
	if !bytes.Equal(got, stuck) {
		t.Error("the image was written to")
	}

	// Intact slices of both kinds are reported.
	for i, s := range mustVerify(t, macho.Bytes(mixed(t, data, second))).Slices {
		if s.Status != macho.StatusRefused || !strings.HasPrefix(s.Reason, "same-signer: ") {
			t.Errorf("mixed: slice %d is %s (%s)", i, s.Status, s.Reason)
		}
	}

	// Repair makes them agree, RepairTouched leaves what it was not asked about.
	for name, ranges := range map[string][]macho.Range{"all": nil, "touched": {{Off: 3000, Len: 1}}} {
		got := mixed(t, data, second)
		before := bytes.Clone(got)
		report, err := repair(adhoc, macho.Bytes(got), ranges)
		if err != nil {
			t.Fatal(err)
		}
		if name == "touched" {
			if !bytes.Equal(got, before) || report.Slices[0].Status != macho.StatusRefused {
				t.Errorf("touched: the image was written to, or slice 0 is %s", report.Slices[0].Status)
			}
			continue
		}
		for i, s := range mustVerify(t, macho.Bytes(got)).Slices {
			if s.Status != macho.StatusValid || s.Signature != "adhoc" || report.Slices[i].Status == macho.StatusRefused {
				t.Errorf("mixed, repaired: slice %d: %s, then %s (%s)", i, report.Slices[i].Status, s.Status, s.Reason)
			}
		}
	}
}

// mixed returns the image with its slice at an offset made ad-hoc.
func mixed(t *testing.T, data []byte, off int64) []byte {
	t.Helper()
	data = bytes.Clone(data)
	thin := bytes.Clone(data[off:])
	thin[3000] ^= 1
	if _, err := (macho.Config{OnCMS: macho.CMSAdhoc}).Repair(macho.Bytes(thin)); err != nil {
		t.Fatal(err)
	}
	thin[3000] ^= 1
	if _, err := macho.Repair(macho.Bytes(thin)); err != nil {
		t.Fatal(err)
	}
	copy(data[off:], thin)
	return data
}

// TestOverlapWarning checks the warning for a slice whose last page reaches into the next one.
func TestOverlapWarning(t *testing.T) {
	for _, test := range []struct {
		shift  uint8
		pad    int
		warned bool
	}{{14, 0, true}, {14, 3 * 4096, false}, {12, 0, false}} {
		arm64, _ := machotest.Image{CPU: 0x0100000c, CodeSize: 17_000, Directories: []machotest.Directory{{PageShift: test.shift}}}.Build()
		arm64 = append(arm64, make([]byte, -len(arm64)&4095+test.pad)...)
		x8664, _ := machotest.Image{CPU: 0x01000007, Directories: []machotest.Directory{{PageShift: 12}}}.Build()
		data := machotest.Fat(false, false, machotest.Slice{CPU: 0x0100000c, Data: append(arm64, x8664...)}, machotest.Slice{CPU: 0x01000007, Data: x8664})
		// The first slice ends where the copy of the second one begins.
		binary.BigEndian.PutUint32(data[8+12:], uint32(len(arm64)))
		binary.BigEndian.PutUint32(data[8+20+8:], 16384+uint32(len(arm64)))
		report := mustVerify(t, macho.Bytes(data))
		if a, b := report.Slices[0], report.Slices[1]; !report.OK() || len(a.Warnings) > 0 != test.warned || len(b.Warnings) > 0 {
			t.Errorf("%+v: %s (%s) %q, %s (%s) %q", test, a.Status, a.Reason, a.Warnings, b.Status, b.Reason, b.Warnings)
		}
	}
}
