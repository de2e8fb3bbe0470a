package macho_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"narseal/macho"
	"narseal/macho/machotest"
)

// refusalImage has every part that a refusal is about.
func refusalImage() ([]byte, *machotest.Layout) {
	return machotest.Image{
		InfoPlist: []byte("<plist/>"),
		Directories: []machotest.Directory{
			{Version: 0x20600, HashType: 1, PageShift: 12, Team: "TEAM", PreEncrypt: true, Linkage: []byte("linkage"), Scatter: [][2]uint32{{2, 0}, {2, 2}, {1, 4}}},
			{Slot: 0x1000, Version: 0x20600, PageShift: 12, Team: "TEAM", PreEncrypt: true},
		},
		Blobs: []machotest.Blob{
			{Slot: 2, Magic: machotest.Requirements, Data: make([]byte, 4)},
			{Slot: 5, Magic: machotest.Entitlements, Data: []byte("<plist/>")},
			{Slot: 0x10000, Magic: machotest.CMS},
		},
	}.Build()
}

// TestRefusals breaks one field at a time. Verify must report it with a reason, and Repair must not write a byte.
func TestRefusals(t *testing.T) {
	be, le := binary.BigEndian, binary.LittleEndian
	_, l := refusalImage()
	command := l.CommandsEnd - 16        // LC_CODE_SIGNATURE
	uuid := l.CommandsEnd - 16 - 72 - 24 // LC_UUID
	section := int64(32 + 72)            // struct section_64 of __info_plist
	sig, cd, scattered := l.Signature, l.Blobs[0x1000], l.Blobs[0]
	hashes := uint32(l.Directories[1].Hashes - cd)
	const index = 12 // of the SuperBlob: slots 0, 2, 5, 0x1000, 0x10000

	put32 := func(off int64, v uint32) func([]byte) { return func(b []byte) { be.PutUint32(b[off:], v) } }
	put64 := func(off int64, v uint64) func([]byte) { return func(b []byte) { be.PutUint64(b[off:], v) } }
	little := func(off int64, v uint32) func([]byte) { return func(b []byte) { le.PutUint32(b[off:], v) } }
	put8 := func(off int64, v byte) func([]byte) { return func(b []byte) { b[off] = v } }

	for _, test := range []struct {
		name   string
		damage func([]byte)
		reason string
	}{
		{"command size 12", little(command+4, 12), "LC_CODE_SIGNATURE has size 12, want 16"},
		{"command size 20", little(command+4, 20), "load command 3"},
		{"command size 4", little(command+4, 4), "load command 3"},
		{"two signatures", little(uuid, 0x1d), "2 LC_CODE_SIGNATURE"},
		{"segment with too many sections", little(32+64, 2), "too short for 2 sections"},
		{"dataoff past the slice", little(command+8, 1<<31), "past the end of the slice"},
		{"dataoff close to 2^32", little(command+8, 1<<32-1), "past the end of the slice"},
		{"datasize past the slice", little(command+12, 1<<32-1), "past the end of the slice"},
		{"signature over the load commands", little(command+8, 64), "overlaps the load commands"},
		{"Info.plist past the slice", little(section+40, 1<<20), "__info_plist"},
		{"Info.plist of 2^63 bytes", func(b []byte) { le.PutUint64(b[section+40:], 1<<63) }, "__info_plist"},
		{"Info.plist in the signature", little(section+48, uint32(sig)), "__info_plist overlaps"},

		{"SuperBlob magic", put32(sig, 0xfade0cc1), "magic 0xfade0cc1"},
		{"SuperBlob longer than the command says", put32(sig+4, 1<<31), "signature has length"},
		{"SuperBlob cut within a blob", put32(sig+4, 200), "past the end of the SuperBlob"},
		{"SuperBlob cut within the index", put32(sig+4, 20), "too short for the index"},
		{"SuperBlob of length 0", put32(sig+4, 0), "too short for the index"},
		{"2^32-1 blobs", put32(sig+8, 1<<32-1), "4294967295 blobs"},
		{"1,000 blobs", put32(sig+8, 1000), "too short for the index"},
		{"no blobs", put32(sig+8, 0), "no CodeDirectory"},
		{"blob in the index", put32(sig+index+8*1+4, 12), "overlaps the index"},
		{"blob past the end", put32(sig+index+8*2+4, 1<<32-1), "past the end of the SuperBlob"},
		{"blob over the next one", put32(l.Blobs[2]+4, 13), "blob 0x5 at"},
		{"blob of length 4", put32(l.Blobs[5]+4, 4), "shorter than its header"},
		{"blob of length 2^32-1", put32(l.Blobs[5]+4, 1<<32-1), "past the end of the SuperBlob"},
		{"requirements magic", put32(l.Blobs[2], 1), "blob 0x2 has magic"},
		{"entitlements magic", put32(l.Blobs[5], 0xfade7172), "blob 0x5 has magic"},
		{"CMS magic", put32(l.Blobs[0x10000], 0xfade0c01), "blob 0x10000 has magic"},
		{"CodeDirectory magic", put32(cd, 0xfade0c03), "blob 0x1000 has magic"},
		{"two primary CodeDirectories", put32(sig+index+8*3, 0), "two blobs 0x0"},
		{"no CodeDirectory", func(b []byte) {
			be.PutUint32(b[sig+index:], 0x2000)
			be.PutUint32(b[sig+index+8*3:], 0x2001)
		}, "no CodeDirectory"},

		{"version too old", put32(cd+8, 0x20000), "version 0x20000"},
		{"version too new", put32(cd+8, 0x30000), "version 0x30000"},
		{"shorter than its header", put32(cd+4, 100), "too short for version"},
		{"unknown hash type", put8(cd+37, 6), "hash type 6"},
		{"no hash type", put8(cd+37, 0), "hash type 0"},
		{"hash size", put8(cd+36, 20), "hash size 20, want 32"},
		{"hash size 0", put8(cd+36, 0), "hash size 0, want 32"},
		{"page size 2^33", put8(cd+39, 33), "page size 2^33"},
		{"page size 2^255", put8(cd+39, 255), "page size 2^255"},
		{"page size 2^13", put8(cd+39, 13), "code slots for"},
		{"code limit in the signature", put32(cd+32, uint32(sig)+1), "past the beginning of the signature"},
		{"code limit 64 of 2^64-1", put64(cd+56, 1<<64-1), "past the beginning of the signature"},
		{"code limit 64 in the signature", put64(cd+56, uint64(sig)+1), "past the beginning of the signature"},
		{"code limit 0", put32(cd+32, 0), "covers nothing"},
		{"code limit a page short", func(b []byte) {
			be.PutUint32(b[cd+32:], 4*4096)
			be.PutUint32(b[cd+28:], 4)
		}, "uncovered"},
		{"a slot too few", put32(cd+28, 4), "4 code slots for 5 pages"},
		{"a slot too many", put32(cd+28, 6), "6 code slots for 5 pages"},
		{"2^32-1 slots", put32(cd+28, 1<<32-1), "4294967295 code slots"},
		{"slots past the end", put32(cd+16, 1<<32-1), "slots at"},
		{"slots in the header", put32(cd+16, 104), "slots at"},
		{"2^32-1 special slots", put32(cd+24, 1<<32-1), "slots at"},
		{"special slots in the header", put32(cd+24, 10), "overlaps the slots"},
		{"identifier past the end", put32(cd+20, 1<<31), "identifier at"},
		{"identifier in the slots", put32(cd+20, hashes+1), "identifier at"},
		{"team identifier past the end", put32(cd+48, 1<<31), "team identifier at"},
		{"pre-encrypt slots past the end", put32(cd+92, hashes+5*32+1), "pre-encrypt slots at"},
		{"pre-encrypt slots over the slots", put32(cd+92, hashes+32), "overlaps the slots"},
		{"pre-encrypt slots over the header", put32(cd+92, 90), "overlaps the slots"},
		{"encrypted, with pre-encrypt slots", func(b []byte) {
			le.PutUint32(b[uuid:], 0x2c)
			le.PutUint32(b[uuid+16:], 1)
		}, "encrypted"},
		{"linkage past the end", func(b []byte) { b[cd+96] = 2; be.PutUint32(b[cd+104:], 1<<32-1) }, "linkage"},
		{"scatter list past the end", put32(scattered+44, 1<<31), "scatter list at"},
		{"scatter list without an end", put32(scattered+44, be.Uint32(mustRead(scattered+16))), "scatter list"},
		{"scatter list out of order", put32(scatterAt(1)+4, 1), "goes back to page 1"},
		{"scatter list of 2^32-1 pages", put32(scatterAt(2), 1<<32-1), "the code limit"},
		{"scatter list past the code limit", put32(scatterAt(2)+4, 5), "the code limit"},
		{"scatter list with too many slots", put32(scattered+28, 4), "uses 5 slots of 4"},

		{"slot -5 without entitlements", put32(sig+index+8*2, 0x4000), "special slot -5 is set"},
		{"slot -2 without requirements", put32(sig+index+8*1, 0x4000), "special slot -2 is set"},
		{"entitlements without slot -5", func(b []byte) { clear(b[cd+int64(hashes)-5*32:][:32]) }, "covered by no special slot -5"},
		{"launch constraint without slot -8", func(b []byte) {
			be.PutUint32(b[sig+index+8*4:], 8)
			be.PutUint32(b[l.Blobs[0x10000]:], 0xfade8181)
		}, "covered by no special slot -8"},
	} {
		t.Run(test.name, func(t *testing.T) {
			data, _ := refusalImage()
			if report := mustVerify(t, macho.Bytes(data)); !report.OK() {
				t.Fatalf("the image is not valid to begin with: %+v", report.Slices)
			}
			test.damage(data)
			checkRefused(t, data, test.reason)
		})
	}
}

// mustRead and scatterAt read the image that TestRefusals breaks.
func mustRead(off int64) []byte {
	data, _ := refusalImage()
	return data[off:]
}

func scatterAt(i int64) int64 {
	_, l := refusalImage()
	return l.Blobs[0] + int64(binary.BigEndian.Uint32(mustRead(l.Blobs[0]+44))) + 24*i
}

// checkRefused checks that a slice of the image is malformed or unsupported for this reason, and that Repair does not
// change the image.
func checkRefused(t *testing.T, data []byte, reason string) {
	t.Helper()
	want := func(report *macho.Report) {
		t.Helper()
		for _, s := range report.Slices {
			if (s.Status == macho.StatusMalformed || s.Status == macho.StatusUnsupported) && strings.Contains(s.Reason, reason) {
				return
			}
		}
		t.Errorf("report %+v, want a refusal with %q", report.Slices, reason)
	}
	for _, image := range views {
		want(mustVerify(t, image(data)))
		for _, touched := range [][]macho.Range{nil, {{Off: 0, Len: int64(len(data))}}} {
			got := bytes.Clone(data)
			report, err := repair(macho.Config{}, image(got), touched)
			if err != nil {
				t.Fatal(err)
			}
			want(report)
			if !bytes.Equal(got, data) {
				t.Error("repair wrote to an image that it refused")
			}
		}
	}
	if v, _ := probe(t, data); v != macho.Signed {
		t.Errorf("Probe says %d, want Signed", v)
	}
}

// The index of a SuperBlob is bounded.
func TestManyBlobs(t *testing.T) {
	for _, n := range []uint32{1025, 1 << 20, 1<<32 - 1} {
		image, l := machotest.Image{CodeSize: 1 << 16, Directories: []machotest.Directory{{PageShift: 12}}}.Build()
		binary.BigEndian.PutUint32(image[l.Signature+8:], n)
		s := mustVerify(t, macho.Bytes(image)).Slices[0]
		if want := fmt.Sprintf("SuperBlob has %d blobs, want at most 1024", n); s.Status != macho.StatusMalformed || s.Reason != want {
			t.Errorf("%s: %s, want %s", s.Status, s.Reason, want)
		}
	}
}
