package machotest

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// Hostile returns images of about size bytes that repeat what a reader parses: each makes one part of an image as
// numerous, or name the same bytes as often, as the format allows.
func Hostile(size int) []Case {
	var all []Case
	add := func(name string, data []byte) { all = append(all, Case{Name: name, Data: data}) }
	add("one directory in 1024 entries", repeatedDirectory(size, 1024, 0))
	add("one directory in 7 slots", repeatedDirectory(size, 7, 1))
	add("strings without an end, 1024 entries", endlessStrings(size, 1024, 0))
	add("strings without an end, 7 slots", endlessStrings(size, 7, 1))
	add("7 scatter lists", scatterLists(size))
	add("1024 blobs", manyBlobs(size))
	add("8-byte load commands, unsigned", loadCommands(size, 0x7f, 8, false))
	add("8-byte load commands, signed", loadCommands(size, 0x7f, 8, true))
	add("LC_CODE_SIGNATURE commands", loadCommands(size, 0x1d, 16, true))
	add("LC_UUID commands", loadCommands(size, 0x1b, 24, true))
	add("empty segments", loadCommands(size, 0x19, 72, true))
	add("sections", sections(size))
	for shift := uint8(1); shift <= 5; shift += 2 {
		add(fmt.Sprintf("stale pages of %d bytes", 1<<shift), tinyPages(size, shift))
	}
	add("7 directories, 5 hash types", sevenDirectories(size))
	add("7 directories of SHA-512, all stale", staleDirectories(size))
	add("11 large blobs, 7 directories", largeBlobs(size))
	add("Info.plist over all code, 7 directories", wholeInfoPlist(size))
	add("executable segments and scatter records", segmentsAndScatter(size))
	slice := loadCommands(20_000, 0x7f, 8, true)
	add("511 slices, one range", overlappingSlices(size, slice))
	add("511 slices of load commands, unsigned", disjointSlices(size, false))
	add("511 slices of load commands, signed", disjointSlices(size, true))
	return all
}

// Harmless returns an image of about size bytes as a linker makes them, with the CodeDirectories of codesign.
func Harmless(size int) Case {
	data, layout := Image{CodeSize: size * 99 / 100, Directories: []Directory{
		{HashType: 1, PageShift: 12}, {Slot: 0x1000, PageShift: 12},
	}}.Build()
	return Case{Name: "harmless", Data: data, Layouts: []*Layout{layout}}
}

var be, le = binary.BigEndian, binary.LittleEndian

// codeSignature is the load command LC_CODE_SIGNATURE.
func codeSignature(off, size int) []byte {
	b := le.AppendUint32(le.AppendUint32(nil, 0x1d), 16)
	return le.AppendUint32(le.AppendUint32(b, uint32(off)), uint32(size))
}

// header is that of a thin arm64 image.
func header(commands, size int) []byte {
	var b []byte
	for _, v := range []int{0xfeedfacf, 0x0100000c, 0, 2, commands, size, 0, 0} {
		b = le.AppendUint32(b, uint32(v))
	}
	return b
}

// signedBy returns an image of a page of code with this signature.
func signedBy(signature []byte) []byte {
	const code = 4096
	b := append(header(1, 16), codeSignature(code, len(signature))...)
	return append(append(b, make([]byte, code-len(b))...), signature...)
}

// superBlob returns a SuperBlob of this index and body. Offsets in the index count from the start of the body.
func superBlob(index [][2]int, body []byte) []byte {
	start := 12 + 8*len(index)
	b := be.AppendUint32(nil, 0xfade0cc0)
	b = be.AppendUint32(b, uint32(start+len(body)))
	b = be.AppendUint32(b, uint32(len(index)))
	for _, e := range index {
		b = be.AppendUint32(be.AppendUint32(b, uint32(e[0])), uint32(start+e[1]))
	}
	return append(b, body...)
}

// repeated returns the index of n entries that all name offset 0, with slots that differ by step where they can.
func repeated(n, step int) [][2]int {
	var index [][2]int
	for i := range n {
		slot := 0
		if i > 0 && step > 0 {
			slot = 0x1000 + i - 1
		}
		index = append(index, [2]int{slot, 0})
	}
	return index
}

// rawDirectory returns a CodeDirectory of version 0x20300 for a page of code, of length bytes in all, with a slot that
// does not match.
func rawDirectory(length int) []byte {
	b := make([]byte, length)
	for off, v := range map[int]int{0: 0xfade0c02, 4: length, 8: 0x20300, 16: 64, 20: 96, 28: 1, 32: 4096} {
		be.PutUint32(b[off:], uint32(v))
	}
	b[36], b[37], b[39] = 32, 2, 12
	copy(b[96:], "x\x00")
	return b
}

func repeatedDirectory(size, entries, step int) []byte {
	return signedBy(superBlob(repeated(entries, step), scatterDirectory(min(size, 100+65_535*24+24))))
}

// scatterDirectory returns a CodeDirectory full of scatter records.
func scatterDirectory(length int) []byte {
	b := rawDirectory(length)
	be.PutUint32(b[44:], 100)
	for at, i := 100, 0; at+48 <= length; at, i = at+24, i+1 {
		be.PutUint32(b[at:], 1)
		be.PutUint32(b[at+4:], uint32(i))
	}
	return b
}

func endlessStrings(size, entries, step int) []byte {
	b := rawDirectory(size)
	be.PutUint32(b[20:], 96)
	be.PutUint32(b[48:], 96)
	for i := range b[96:] {
		b[96+i] = 'x'
	}
	return signedBy(superBlob(repeated(entries, step), b))
}

func scatterLists(size int) []byte {
	var index [][2]int
	var body []byte
	for i, e := range repeated(7, 1) {
		index = append(index, [2]int{e[0], len(body)})
		d := scatterDirectory(size / 7)
		d[37] = uint8(1 + i%5)
		body = append(body, d...)
	}
	return signedBy(superBlob(index, body))
}

func manyBlobs(size int) []byte {
	index := [][2]int{{0, 0}}
	body := rawDirectory(100)
	length := size/1024 + 8
	for i := range 1023 {
		index = append(index, [2]int{0x2000 + i, len(body)})
		blob := make([]byte, length)
		be.PutUint32(blob[4:], uint32(length))
		body = append(body, blob...)
	}
	return signedBy(superBlob(index, body))
}

// loadCommands returns an image that is all load commands of one kind and length.
func loadCommands(size int, cmd uint32, length int, signed bool) []byte {
	n := size / length
	commands := make([]byte, 0, n*length+16)
	for range n {
		at := len(commands)
		commands = append(commands, make([]byte, length)...)
		le.PutUint32(commands[at:], cmd)
		le.PutUint32(commands[at+4:], uint32(length))
	}
	var signature []byte
	if signed {
		signature = superBlob(repeated(1, 0), rawDirectory(100))
		commands = append(commands, codeSignature(32+len(commands)+16, len(signature))...)
		n++
	}
	return slices.Concat(header(n, len(commands)), commands, signature)
}

// sections returns an image with one segment of many sections, each of which names the whole image.
func sections(size int) []byte {
	n := size / 80
	b := make([]byte, 72, 72+80*n)
	le.PutUint32(b, 0x19)
	le.PutUint32(b[4:], uint32(72+80*n))
	copy(b[8:], "__TEXT")
	le.PutUint64(b[48:], uint64(size))
	le.PutUint32(b[64:], uint32(n))
	for i := range n {
		s := make([]byte, 80)
		copy(s, fmt.Sprintf("__s%d", i))
		copy(s[16:], "__TEXT")
		le.PutUint64(s[40:], uint64(size))
		b = append(b, s...)
	}
	signature := superBlob(repeated(1, 0), rawDirectory(100))
	b = append(b, codeSignature(32+len(b)+16, len(signature))...)
	return slices.Concat(header(2, len(b)), b, signature)
}

func tinyPages(size int, shift uint8) []byte {
	code := size / (1 + 20>>shift)
	if 20>>shift == 0 {
		code = size * (1 << shift) / (1<<shift + 20)
	}
	data, l := Image{CodeSize: code, Directories: []Directory{{HashType: 1, PageShift: shift}}}.Build()
	staleSlots(data, l)
	return data
}

// staleSlots damages every slot.
func staleSlots(data []byte, l *Layout) {
	for _, d := range l.Directories {
		for i := range d.Pages {
			data[d.Hashes+int64(i)*d.HashSize] ^= 1
		}
	}
}

// seven returns seven CodeDirectories of five hash types.
func seven(pageShift uint8) []Directory {
	var all []Directory
	for i, e := range repeated(7, 1) {
		all = append(all, Directory{Slot: uint32(e[0]), HashType: uint8(1 + i%5), PageShift: pageShift})
	}
	return all
}

func sevenDirectories(size int) []byte {
	data, _ := Image{CodeSize: size * 9 / 10, Directories: seven(12)}.Build()
	return data
}

func staleDirectories(size int) []byte {
	all := seven(8)
	for i := range all {
		all[i].HashType = 5
	}
	data, l := Image{CodeSize: size / 3, Directories: all}.Build()
	staleSlots(data, l)
	return data
}

func largeBlobs(size int) []byte {
	im := Image{CodeSize: 1200, Directories: seven(12)}
	for k, magic := range map[uint32]uint32{
		2: Requirements, 5: Entitlements, 7: DEREntitlements, 8: Constraint, 9: Constraint, 10: Constraint, 11: Constraint,
	} {
		im.Blobs = append(im.Blobs, Blob{k, magic, make([]byte, size/7)})
	}
	slices.SortFunc(im.Blobs, func(a, b Blob) int { return int(a.Slot) - int(b.Slot) })
	data, _ := im.Build()
	return data
}

func wholeInfoPlist(size int) []byte {
	data, _ := Image{CodeSize: size, InfoPlist: make([]byte, size*9/10), Directories: seven(12)}.Build()
	return data
}

// segmentsAndScatter returns a signed image with many executable segments that name all pages, each of which has a scatter
// record.
func segmentsAndScatter(size int) []byte {
	const page = 4096
	segments := size * 3 / 4 / 72
	code := (size*9/10 + page - 1) / page * page
	commands := make([]byte, 0, segments*72+16)
	for range segments {
		at := len(commands)
		commands = append(commands, make([]byte, 72)...)
		le.PutUint32(commands[at:], 0x19)
		le.PutUint32(commands[at+4:], 72)
		le.PutUint64(commands[at+48:], uint64(code))
		le.PutUint32(commands[at+60:], 4)
	}
	d := Directory{Version: 0x20100, HashType: 1, PageShift: 12}
	for i := range code / page {
		d.Scatter = append(d.Scatter, [2]uint32{1, uint32(i)})
	}
	image := make([]byte, code)
	sign := func() []byte {
		d.Identifier = "x"
		b, _ := d.encode(image, nil)
		return superBlob(repeated(1, 0), b)
	}
	commands = append(commands, codeSignature(code, len(sign()))...)
	copy(image, append(header(segments+1, len(commands)), commands...))
	return append(image, sign()...)
}

// fat64 returns a fat image with a table of these ranges, and the rest of its body.
func fat64(table [][2]int, body []byte) []byte {
	b := be.AppendUint32(be.AppendUint32(nil, 0xcafebabf), uint32(len(table)))
	for i, e := range table {
		b = be.AppendUint32(be.AppendUint32(b, 0x0100000c), uint32(i))
		b = be.AppendUint64(be.AppendUint64(b, uint64(e[0])), uint64(e[1]))
		b = be.AppendUint32(be.AppendUint32(b, 12), 0)
	}
	return append(b, body...)
}

const maxSlices = 511 // what fits into the first 16 KiB of a file

func overlappingSlices(size int, slice []byte) []byte {
	start := 8 + 32*maxSlices
	var table [][2]int
	for range maxSlices {
		table = append(table, [2]int{start, len(slice)})
	}
	return fat64(table, append(slice, make([]byte, max(0, size-start-len(slice)))...))
}

func disjointSlices(size int, signed bool) []byte {
	slice := loadCommands(size/maxSlices-100, 0x7f, 8, signed)
	start := 8 + 32*maxSlices
	var table [][2]int
	var body []byte
	for range maxSlices {
		table = append(table, [2]int{start + len(body), len(slice)})
		body = append(body, slice...)
	}
	return fat64(table, body)
}
