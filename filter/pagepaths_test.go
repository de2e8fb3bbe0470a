package filter_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"narseal/filter"
	"narseal/macho"
	"narseal/macho/machotest"
)

// TestNoteStorePaths puts store paths over the edges of pages after an image was signed.
func TestNoteStorePaths(t *testing.T) {
	one, two, wide := "/nix/store/"+strings.Repeat("1", 32)+"-one", "/nix/store/"+strings.Repeat("2", 32)+"-two", "/nix/store/"+strings.Repeat("3", 32)+"-wide"
	data, _ := machotest.Image{CodeSize: 16 * 4096, Directories: []machotest.Directory{{PageShift: 12}, {Slot: 0x1000, HashType: 1, PageShift: 12}}}.Build()
	intact := bytes.Clone(data)
	put := func(off int, text []byte) { copy(data[off:], text) }
	put(5*4096-20, []byte(one+"\x00")) // ends on page 5
	put(9*4096+100, []byte(two+"\x00"))
	put(9*4096+300, []byte(two+"\x00"))
	var utf []byte
	for _, u := range utf16.Encode([]rune(wide + "\x00")) {
		utf = binary.LittleEndian.AppendUint16(utf, u)
	}
	put(12*4096-60, utf)

	rep, err := macho.Verify(macho.Bytes(data))
	if err != nil {
		t.Fatal(err)
	}
	if err := filter.NoteStorePaths(rep, macho.Bytes(data)); err != nil {
		t.Fatal(err)
	}
	want := []macho.Note{{Off: 5*4096 - 20, Text: one}, {Off: 9*4096 + 100, Text: two}, {Off: 9*4096 + 300, Text: two}, {Off: 12*4096 - 60, Text: wide}}
	if got := rep.Slices[0].Notes; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}

	// What stands on pages that match is not noted.
	copy(intact[9*4096+100:], two)
	copy(intact[3*4096:], one)
	if _, err := macho.RepairTouched(macho.Bytes(intact), []macho.Range{{Off: 3 * 4096, Len: 4096}}); err != nil {
		t.Fatal(err)
	}
	if rep, err = macho.Verify(macho.Bytes(intact)); err != nil {
		t.Fatal(err)
	}
	if err := filter.NoteStorePaths(rep, macho.Bytes(intact)); err != nil {
		t.Fatal(err)
	}
	if got := rep.Slices[0].Notes; !slices.Equal(got, want[1:2]) {
		t.Errorf("got %v, want %v", got, want[1:2])
	}

	// However many there are, few are noted.
	for off := 4096; off < 15*4096; off += 64 {
		put(off, []byte(one+"\x00"))
	}
	if rep, err = macho.Verify(macho.Bytes(data)); err == nil {
		err = filter.NoteStorePaths(rep, macho.Bytes(data))
	}
	if n := len(rep.Slices[0].Notes); err != nil || n == 0 || n > 64 {
		t.Errorf("%d notes, %v", n, err)
	}
}
