// Package machotest builds small signed Mach-O images for tests, including forms of code signatures that no available
// signer makes. It shares no code with package macho, so each checks the other.
package machotest

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"slices"
)

// Magic numbers of blobs (xnu osfmk/kern/cs_blobs.h).
const (
	Requirements    = 0xfade0c01
	Entitlements    = 0xfade7171
	DEREntitlements = 0xfade7172
	Constraint      = 0xfade8181
	CMS             = 0xfade0b01
)

// Image describes a thin image. The zero value of a field is the usual case.
type Image struct {
	Is32       bool
	BigEndian  bool
	CPU        uint32 // default arm64; arm with Is32, ppc64 and ppc with BigEndian
	Sub        uint32 // cpusubtype
	FileType   uint32 // default MH_EXECUTE
	Executable int    // end of the executable segment; default the last whole page below the code limit
	CodeSize   int    // bytes before the signature; default 20,000
	Gap        int    // bytes between the code limit and the signature
	Misaligned int    // bytes by which the signature is past a multiple of 16
	Linkedit   [2]int // offset and size of __LINKEDIT; default the rest of the image
	Functions  [2]int // offset and size in an LC_FUNCTION_STARTS; default none
	Text       []byte // appears in several places of the code, in two of them across a page boundary
	InfoPlist  []byte // the section __TEXT,__info_plist

	Directories []Directory
	Blobs       []Blob
	External    map[int][]byte // contents of other files, which special slot -k of every CodeDirectory hashes
	Bare        bool           // no SuperBlob around the one CodeDirectory
	Reversed    bool           // blobs in the reverse order of the index
}

// Directory describes a CodeDirectory.
type Directory struct {
	Slot       uint32
	Version    uint32 // default 0x20400
	Flags      uint32
	HashType   uint8 // default 2, SHA-256
	PageShift  uint8
	Special    int    // minimum number of slots; more if there are blobs
	Identifier string // default "narseal.test"
	Team       string // from version 0x20200
	Platform   uint8
	Scatter    [][2]uint32 // {count, base page}; from version 0x20100
	PreEncrypt bool        // from version 0x20500
	Limit64    bool        // only codeLimit64 is set; from version 0x20300
	Linkage    []byte      // from version 0x20600
}

// Blob is a blob of the SuperBlob: Data follows its magic and length.
type Blob struct {
	Slot, Magic uint32
	Data        []byte
}

// Layout has the places of things in an image.
type Layout struct {
	Offset      int64 // of the slice in the image; all other offsets count from the slice
	CommandsEnd int64
	Signature   int64
	InfoPlist   int64
	Blobs       map[uint32]int64 // offset of each blob by slot
	Directories []DirectoryLayout
}

// DirectoryLayout has the places of the slots of a CodeDirectory.
type DirectoryLayout struct {
	Slot     uint32
	HashSize int64
	Hashes   int64 // slot 0
	Twin     int64 // its pre-encrypt twin; 0: none
	Pages    []Page
	Special  map[int]bool // the slots that are set
}

// Page is one page with its slot.
type Page struct {
	Page, Slot int
	From, To   int64
}

func digest(hashType uint8, data []byte) []byte {
	switch hashType {
	case 1:
		s := sha1.Sum(data)
		return s[:]
	case 2:
		s := sha256.Sum256(data)
		return s[:]
	case 3:
		s := sha256.Sum256(data)
		return s[:20]
	case 4:
		s := sha512.Sum384(data)
		return s[:]
	case 5:
		s := sha512.Sum512(data)
		return s[:]
	}
	panic(fmt.Sprintf("hash type %d", hashType))
}

// Build returns the image and its layout.
func (im Image) Build() ([]byte, *Layout) {
	if im.CodeSize == 0 {
		im.CodeSize = 20_000
	}
	im.CodeSize = (im.CodeSize+15)&^15 + im.Misaligned
	if im.FileType == 0 {
		im.FileType = 2
	}
	im.Directories = slices.Clone(im.Directories)
	for i := range im.Directories {
		d := &im.Directories[i]
		if d.Version == 0 {
			d.Version = 0x20400
		}
		if d.HashType == 0 {
			d.HashType = 2
		}
		if d.Identifier == "" {
			d.Identifier = "narseal.test"
		}
	}
	if im.Executable == 0 {
		// The kernel does not execute code in a partial page at the end.
		im.Executable = im.CodeSize - im.Gap
		for _, d := range im.Directories {
			if d.PageShift >= 12 && d.PageShift <= 14 {
				im.Executable &^= 1<<d.PageShift - 1
			}
		}
	}
	layout := &Layout{Signature: int64(im.CodeSize), Blobs: map[uint32]int64{}}

	// The length of a signature does not depend on what it hashes.
	code := make([]byte, im.CodeSize)
	length := len(im.sign(code, &Layout{Signature: int64(im.CodeSize), Blobs: map[uint32]int64{}}))
	im.fill(code, layout, length)
	return append(code, im.sign(code, layout)...), layout
}

// fill writes the header, the load commands and the contents.
func (im Image) fill(code []byte, layout *Layout, sigLen int) {
	state := uint32(1)
	for i := range code {
		state = state*1664525 + 1013904223
		code[i] = byte(state >> 24)
	}
	commands := im.commands(layout, sigLen)
	copy(code, commands)
	layout.CommandsEnd = int64(len(commands))
	copy(code[layout.InfoPlist:], im.InfoPlist)

	free := int(layout.CommandsEnd) + len(im.InfoPlist)
	for _, at := range []int{free + 3, (free + len(code)) / 2, len(code) - len(im.Text), 4096*2 - 7, 4096*3 - 16} {
		if at >= free && at+len(im.Text) <= len(code) {
			copy(code[at:], im.Text)
		}
	}
}

// commands returns the header and the load commands.
func (im Image) commands(layout *Layout, sigLen int) []byte {
	var order interface {
		binary.ByteOrder
		binary.AppendByteOrder
	} = binary.LittleEndian
	if im.BigEndian {
		order = binary.BigEndian
	}
	u32 := func(b []byte, values ...int64) []byte {
		for _, v := range values {
			b = order.AppendUint32(b, uint32(v))
		}
		return b
	}
	word := func(b []byte, values ...int64) []byte {
		for _, v := range values {
			if im.Is32 {
				b = order.AppendUint32(b, uint32(v))
			} else {
				b = order.AppendUint64(b, uint64(v))
			}
		}
		return b
	}
	name := func(b []byte, s string) []byte { return append(b, append([]byte(s), make([]byte, 16-len(s))...)...) }

	size, length := int64(im.CodeSize), int64(sigLen)
	headerLen, segmentLen, sectionLen, segment, magic, cpu := int64(32), int64(72), int64(80), int64(0x19), int64(0xfeedfacf), int64(0x0100000c)
	if im.Is32 {
		headerLen, segmentLen, sectionLen, segment, magic, cpu = 28, 56, 68, 0x1, 0xfeedface, 12
	}
	if im.BigEndian {
		cpu = cpu&0x01000000 | 18 // ppc
	}
	if im.CPU != 0 {
		cpu = int64(im.CPU)
	}
	text := int64(im.Executable)
	sections := int64(0)
	if len(im.InfoPlist) > 0 {
		sections = 1
	}
	commands, commandsLen := int64(4), 2*segmentLen+sections*sectionLen+24+16
	if im.Functions[1] > 0 {
		commands, commandsLen = commands+1, commandsLen+16
	}
	layout.InfoPlist = headerLen + commandsLen

	b := u32(nil, magic, cpu, int64(im.Sub), int64(im.FileType), commands, commandsLen, 1)
	if !im.Is32 {
		b = u32(b, 0)
	}
	b = name(u32(b, segment, segmentLen+sections*sectionLen), "__TEXT")
	b = u32(word(b, 0x100000000, text, 0, text), 5, 5, sections, 0)
	if sections > 0 {
		b = name(name(b, "__info_plist"), "__TEXT")
		b = u32(word(b, 0x100000000+layout.InfoPlist, int64(len(im.InfoPlist))), layout.InfoPlist, 0, 0, 0, 0, 0, 0)
		if !im.Is32 {
			b = u32(b, 0)
		}
	}
	b = append(u32(b, 0x1b, 24), "0123456789abcdef"...) // LC_UUID
	b = name(u32(b, segment, segmentLen), "__LINKEDIT")
	linkedit := [2]int64{text, size - text + length}
	if im.Linkedit[1] > 0 {
		linkedit = [2]int64{int64(im.Linkedit[0]), int64(im.Linkedit[1])}
	}
	b = u32(word(b, 0x200000000, linkedit[1], linkedit[0], linkedit[1]), 1, 1, 0, 0)
	if im.Functions[1] > 0 {
		b = u32(b, 0x26, 16, int64(im.Functions[0]), int64(im.Functions[1]))
	}
	return u32(b, 0x1d, 16, size, length)
}

// sign returns the signature of code, with some padding.
func (im Image) sign(code []byte, layout *Layout) []byte {
	type entry struct {
		slot uint32
		data []byte
	}
	var entries []entry
	for _, b := range im.Blobs {
		data := binary.BigEndian.AppendUint32(nil, b.Magic)
		data = binary.BigEndian.AppendUint32(data, uint32(8+len(b.Data)))
		entries = append(entries, entry{b.Slot, append(data, b.Data...)})
	}
	special := map[int][]byte{}
	for _, e := range entries {
		if e.slot < 0x1000 {
			special[int(e.slot)] = e.data
		}
	}
	if len(im.InfoPlist) > 0 {
		special[1] = im.InfoPlist
	}
	for k, data := range im.External {
		special[k] = data
	}
	for _, d := range im.Directories {
		cd, l := d.encode(code[:len(code)-im.Gap], special)
		layout.Directories = append(layout.Directories, l)
		entries = append(entries, entry{d.Slot, cd})
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return int(a.slot) - int(b.slot) })

	var body []byte
	offsets := map[uint32]int{}
	base := 12 + 8*len(entries)
	if im.Bare {
		base = 0
	}
	place := slices.Clone(entries)
	if im.Reversed {
		slices.Reverse(place)
	}
	for _, e := range place {
		offsets[e.slot] = base + len(body)
		layout.Blobs[e.slot] = layout.Signature + int64(base+len(body))
		body = append(body, e.data...)
	}
	for i := range layout.Directories {
		d := &layout.Directories[i]
		at := layout.Blobs[d.Slot]
		d.Hashes += at
		if d.Twin != 0 {
			d.Twin += at
		}
	}
	var b []byte
	if !im.Bare {
		b = binary.BigEndian.AppendUint32(b, 0xfade0cc0)
		b = binary.BigEndian.AppendUint32(b, uint32(base+len(body)))
		b = binary.BigEndian.AppendUint32(b, uint32(len(entries)))
		for _, e := range entries {
			b = binary.BigEndian.AppendUint32(b, e.slot)
			b = binary.BigEndian.AppendUint32(b, uint32(offsets[e.slot]))
		}
	}
	b = append(b, body...)
	return append(b, bytes.Repeat([]byte{0xee}, 7)...)
}
