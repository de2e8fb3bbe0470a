package macho_test

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"testing"

	"narseal/macho"
	"narseal/macho/machotest"
)

// bundleSlots returns the slots for an Info.plist and a list of resources.
func bundleSlots(info, list string) []macho.SpecialSlot {
	var all []macho.SpecialSlot
	for k, data := range map[int]string{1: info, 3: list} {
		b := []byte(data)
		s1, s256, s384 := sha1.Sum(b), sha256.Sum256(b), sha512.Sum384(b)
		all = append(all, macho.SpecialSlot{K: k, HashType: macho.SHA1, Digest: s1[:]}, macho.SpecialSlot{K: k, HashType: macho.SHA256, Digest: s256[:]},
			macho.SpecialSlot{K: k, HashType: macho.SHA256Truncated, Digest: s256[:20]}, macho.SpecialSlot{K: k, HashType: macho.SHA384, Digest: s384[:]})
	}
	return all
}

// sealedImage returns an image that seals these files. change may change its description.
func sealedImage(info, list string, change func(*machotest.Image)) []byte {
	im := machotest.Image{
		Directories: []machotest.Directory{{HashType: 1, PageShift: 12}, {Slot: 0x1000, PageShift: 12}, {Slot: 0x1001, HashType: 4, PageShift: 12}},
		External:    map[int][]byte{1: []byte(info), 3: []byte(list)},
	}
	if change != nil {
		change(&im)
	}
	data, _ := im.Build()
	return data
}

// An image that is sealed for other files is the one that is built for them, in every slice and CodeDirectory.
func TestSeal(t *testing.T) {
	for name, change := range map[string]func(*machotest.Image){
		"three CodeDirectories": nil,
		"one":                   func(im *machotest.Image) { im.Directories = im.Directories[1:2]; im.Directories[0].Slot = 0 },
		"only the list":         func(im *machotest.Image) { delete(im.External, 1) },
		"32 bits":               func(im *machotest.Image) { im.Is32 = true },
		"bare":                  func(im *machotest.Image) { im.Directories, im.Bare = []machotest.Directory{{PageShift: 12}}, true },
	} {
		got, want := sealedImage("info", "list", change), sealedImage("INFO", "LIST", change)
		other := func(im *machotest.Image) {
			if change != nil {
				change(im)
			}
			im.CPU, im.Sub = 0x01000007, 3
		}
		if name != "32 bits" {
			fat := func(info, list string, thin []byte) []byte {
				return machotest.Fat(false, false, machotest.Slice{CPU: 0x01000007, Sub: 3, Data: sealedImage(info, list, other)}, machotest.Slice{CPU: 0x0100000c, Data: thin})
			}
			got, want = fat("info", "list", got), fat("INFO", "LIST", want)
		}
		before := bytes.Clone(got)
		for range 2 { // the second time there is nothing to do
			rep, err := macho.Config{}.Seal(macho.Bytes(got), bundleSlots("INFO", "LIST"))
			if err != nil || !rep.OK() || !bytes.Equal(got, want) {
				t.Fatalf("%s: %v, %v, equal: %v", name, err, rep, bytes.Equal(got, want))
			}
			status := macho.StatusRepaired
			if bytes.Equal(before, want) {
				status = macho.StatusValid
			}
			for _, s := range rep.Slices {
				if s.Status != status {
					t.Errorf("%s: %s, want %s", name, s.Status, status)
				}
			}
			before = want
		}
	}
}

// What cannot be sealed is left alone, all slices of it.
func TestSealRefuses(t *testing.T) {
	certificate := func(im *machotest.Image) {
		im.Blobs = append(im.Blobs, machotest.Blob{Slot: 0x10000, Magic: machotest.CMS, Data: bytes.Repeat([]byte{1}, 100)})
		im.CPU, im.Sub = 0x01000007, 3
	}
	image := machotest.Fat(false, false,
		machotest.Slice{CPU: 0x01000007, Sub: 3, Data: sealedImage("info", "list", certificate)},
		machotest.Slice{CPU: 0x0100000c, Data: sealedImage("info", "list", nil)})
	before := bytes.Clone(image)
	rep, err := macho.Config{}.Seal(macho.Bytes(image), bundleSlots("INFO", "LIST"))
	if err != nil || rep.OK() || !bytes.Equal(image, before) || rep.Slices[0].Status != macho.StatusCMS || rep.Slices[1].Status != macho.StatusStale {
		t.Errorf("%v, %+v, changed: %v", err, rep, !bytes.Equal(image, before))
	}
	rep, err = macho.Config{OnCMS: macho.CMSAdhoc}.Seal(macho.Bytes(image), bundleSlots("INFO", "LIST"))
	if err != nil || !rep.OK() || rep.Slices[0].Signature == "cms" {
		t.Fatalf("ad-hoc: %v, %+v", err, rep)
	}
	for _, s := range rep.Slices {
		for _, e := range s.External {
			for _, want := range bundleSlots("INFO", "LIST") {
				if want.K == e.K && want.HashType == e.HashType && !bytes.Equal(want.Digest, e.Digest) {
					t.Errorf("slot -%d of %s: %x", e.K, e.HashType, e.Digest)
				}
			}
		}
	}
	if rep, err := macho.Verify(macho.Bytes(image)); err != nil || !rep.OK() {
		t.Errorf("it does not verify: %v, %+v", err, rep)
	}
}
