package macho

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// signature is what the bytes that LC_CODE_SIGNATURE names hold, as they stand:
// refusal judges them. Where something lies outside it is left out.
type signature struct {
	off, size     int64 // of the whole, from the start of the slice
	magic, length uint32
	count         uint32 // of index records; 0 for a bare CodeDirectory
	indexed       bool   // the index fits, and blobs holds all of it
	blobs         []blob
	dirs          []*directory
}

// blob is an entry of a SuperBlob's index and the header that it points to.
type blob struct {
	slot          uint32
	off           int64 // from the start of the signature
	magic, length uint32
	headed        bool // the blob's header lies in the signature
}

func (b blob) end() int64 { return b.off + int64(b.length) }

// isDirectory tells whether the slot is a CodeDirectory's.
func (b blob) isDirectory() bool {
	return b.slot == slotCodeDirectory || slotAlternate <= b.slot && b.slot <= slotAlternateLast
}

// directory is a CodeDirectory as it stands. Offsets count from its start.
type directory struct {
	slot          uint32
	off           int64 // of the CodeDirectory, from the start of the slice
	length        int64
	whole         bool // the header that its version asks for is there
	version       uint32
	flags         uint32
	hashOffset    int64
	identOffset   int64
	special, code int64 // number of slots
	limit         int64 // codeLimit64, or codeLimit where that is 0
	hashSize      int64
	hashType      HashType
	pageShift     uint8
	identLen      int64 // with its NUL; -1: it has none
	teamOffset    int64 // 0: none
	teamLen       int64 // likewise
	preEncrypt    int64 // offset of the twin of the code slots; 0: none
	linkage       Range
	scatterOffset int64 // 0: none
	scatter       []extent
	scatterEnd    int64         // 0: the list does not end in the CodeDirectory, or is too long
	stored        []SpecialSlot // those that are not empty, by rising K
}

// extent is count code slots from slot for as many pages from page.
type extent struct{ page, slot, count int64 }

// readSignature reads the signature that the slice's load commands name. Only a
// failing source is an error.
func (s *slice) readSignature(src source) (*signature, error) {
	g := &signature{off: s.commands.sigOff, size: s.commands.sigSize}
	r := sigReader{src: src, base: s.off + g.off, size: g.size, be: binary.BigEndian}
	if g.off+g.size > s.size {
		return g, nil // refused for that alone
	}
	g.magic, g.length = r.u32(0), r.u32(4)
	switch g.magic {
	case magicCodeDirectory:
		g.blobs = []blob{{magic: g.magic, length: g.length, headed: true}}
		g.indexed = true
	case magicSuperBlob:
		g.count = r.u32(8)
		if g.count <= maxBlobs && superBlobHeader+8*int64(g.count) <= min(g.size, int64(g.length)) {
			g.indexed = true
			for i := range int64(g.count) {
				g.blobs = append(g.blobs, blob{slot: r.u32(superBlobHeader + 8*i), off: int64(r.u32(superBlobHeader + 8*i + 4))})
			}
		}
		for i := range g.blobs {
			b := &g.blobs[i]
			if b.off+blobHeader <= g.size {
				b.headed, b.magic, b.length = true, r.u32(b.off), r.u32(b.off+4)
			}
		}
	}
	for _, b := range g.blobs {
		if b.isDirectory() && b.headed && b.magic == magicCodeDirectory && b.end() <= g.size {
			g.dirs = append(g.dirs, r.directory(g.off, b))
		}
	}
	return g, r.err
}

// sigReader reads numbers of a signature; outside of it they are 0. The first
// error of its source stays.
type sigReader struct {
	src  source
	base int64 // of the signature, from the start of the image
	size int64
	be   binary.ByteOrder
	err  error
}

func (r *sigReader) bytes(off int64, n int) []byte {
	if r.err == nil && off >= 0 && off <= r.size-int64(n) {
		b, err := r.src.at(r.base+off, n)
		if err == nil {
			return b
		}
		if !errors.Is(err, errOutside) {
			r.err = err
		}
	}
	return make([]byte, n)
}

func (r *sigReader) u8(off int64) uint8   { return r.bytes(off, 1)[0] }
func (r *sigReader) u32(off int64) uint32 { return r.be.Uint32(r.bytes(off, 4)) }
func (r *sigReader) u64(off int64) uint64 { return r.be.Uint64(r.bytes(off, 8)) }

// directory reads the CodeDirectory b of the signature at sigOff of its slice.
func (r *sigReader) directory(sigOff int64, b blob) *directory {
	at := func(off int64) int64 { return int64(r.u32(b.off + off)) }
	d := &directory{slot: b.slot, off: sigOff + b.off, length: int64(b.length)}
	d.version = r.u32(b.off + 8)
	if d.whole = headerSize(d.version) <= d.length; !d.whole {
		return d
	}
	d.flags = r.u32(b.off + cdFlags)
	d.hashOffset, d.identOffset = at(16), at(20)
	d.special, d.code, d.limit = at(24), at(28), at(32)
	d.hashSize, d.hashType, d.pageShift = int64(r.u8(b.off+36)), HashType(r.u8(b.off+37)), r.u8(b.off+39)
	if d.version >= versionScatter {
		d.scatterOffset = at(44)
	}
	if d.version >= versionTeamID {
		d.teamOffset = at(cdTeamOffset)
	}
	if d.version >= versionCodeLimit64 {
		// One past every image stays past it as a signed number.
		if limit := r.u64(b.off + 56); limit != 0 {
			d.limit = int64(min(limit, 1<<62))
		}
	}
	if d.version >= versionPreEncrypt {
		d.preEncrypt = at(92)
	}
	if d.version >= versionLinkage && r.u8(b.off+96) != 0 {
		d.linkage = Range{at(100), at(104)}
	}
	if d.scatterOffset != 0 {
		r.scatter(b, d)
	}
	d.identLen, d.teamLen = r.stringLen(b, d.identOffset), r.stringLen(b, d.teamOffset)
	size := int64(d.hashType.size())
	for k := int64(1); k <= min(d.special, int64(lastSpecial)) && d.hashOffset >= k*size; k++ {
		stored := r.bytes(b.off+d.hashOffset-k*size, int(size))
		if !zero(stored) {
			d.stored = append(d.stored, SpecialSlot{int(k), d.hashType, append([]byte(nil), stored...)})
		}
	}
	return d
}

// stringLen is the length of the string at off of b with its NUL: 0 for the
// offset 0, which means none, and -1 if it does not end within b.
func (r *sigReader) stringLen(b blob, off int64) int64 {
	if off == 0 {
		return 0
	}
	for pos := off; pos < int64(b.length) && r.err == nil; {
		n := min(int64(b.length)-pos, 1024)
		if i := bytes.IndexByte(r.bytes(b.off+pos, int(n)), 0); i >= 0 {
			return pos + int64(i) + 1 - off
		}
		pos += n
	}
	return -1
}

// scatter reads the scatter list of d.
func (r *sigReader) scatter(b blob, d *directory) {
	slot := int64(0)
	for pos := d.scatterOffset; pos+scatterSize <= d.length && len(d.scatter) <= maxScatter; pos += scatterSize {
		count := int64(r.u32(b.off + pos))
		if count == 0 {
			d.scatterEnd = pos + scatterSize
			return
		}
		d.scatter = append(d.scatter, extent{page: int64(r.u32(b.off + pos + 4)), slot: slot, count: count})
		slot += count
	}
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// pageSize is the size of a page in bytes; one page covers everything where the
// CodeDirectory has none.
func (d *directory) pageSize() int64 {
	if d.pageShift == 0 {
		return max(d.limit, 1)
	}
	return 1 << d.pageShift
}

// pages is the number of pages under the limit.
func (d *directory) pages() int64 {
	p := d.pageSize()
	return d.limit/p + min(d.limit%p, 1)
}

// pageRange returns where page i lies, from the start of the slice.
func (d *directory) pageRange(i int64) (from, to int64) {
	p := d.pageSize()
	return i * p, min((i+1)*p, d.limit)
}

// extents are the pages that have a slot, in rising order.
func (d *directory) extents() []extent {
	if d.scatterOffset != 0 {
		return d.scatter
	}
	return []extent{{count: d.code}}
}

// specialAt is the offset of special slot -k from the start of the slice.
func (d *directory) specialAt(k int) int64 { return d.off + d.hashOffset - int64(k)*d.hashSize }

// kind is the signature's name in a report.
func (g *signature) kind() string {
	for _, b := range g.blobs {
		if b.slot == slotCMS && b.headed && b.length > blobHeader {
			return "cms"
		}
	}
	switch {
	case len(g.dirs) == 0:
		return "none"
	case g.dirs[0].flags&flagLinkerSigned != 0:
		return "linker-signed"
	}
	return "adhoc"
}
