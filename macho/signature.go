package macho

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
)

// signature is the decoded range that LC_CODE_SIGNATURE names. It may be invalid: refuse decides that.
type signature struct {
	off, size     int64 // of the whole, from the start of the slice
	magic, length uint32
	count         uint32 // of index records; 0 for a bare CodeDirectory
	indexed       bool   // the index fits, and blobs has all of it
	blobs         []blob // in the order of the index
	order         []int  // indices of blobs by rising offset
	dirs          []*directory
	kernelDirs    []*directory // those that the kernel reads, in the order of the index
	refusal       *refusal     // a defect found before the CodeDirectories, which are then read only in part
}

// blob is an entry of a SuperBlob's index and the header of the blob that it names.
type blob struct {
	slot          uint32
	off           int64 // from the start of the signature
	magic, length uint32
	headed        bool // the blob's header lies in the signature
}

func (b blob) end() int64 { return b.off + int64(b.length) }

// isDirectory reports whether the slot is that of a CodeDirectory.
func (b blob) isDirectory() bool {
	return b.slot == slotCodeDirectory || slotAlternate <= b.slot && b.slot <= slotAlternateLast
}

// directory is a decoded CodeDirectory, which may be invalid. Offsets count from its start.
type directory struct {
	slot          uint32
	off           int64 // of the CodeDirectory, from the start of the slice
	length        int64
	whole         bool // has the header of its version
	version       uint32
	flags         uint32
	hashOffset    int64
	identOffset   int64
	special, code int64 // number of slots
	limit         int64 // codeLimit64, or codeLimit where that is 0
	limit32       int64 // codeLimit, the only one that the kernel reads
	platform      uint8
	team          string
	hashSize      int64
	hashType      HashType
	pageShift     uint8
	identLen      int64 // with its NUL; -1: it has none
	teamOffset    int64 // 0: none
	teamLen       int64 // likewise
	preEncrypt    int64 // offset of the second array of code slots; 0: none
	linkage       Range
	scatterOffset int64 // 0: none
	scatter       []extent
	scatterEnd    int64         // 0: the list does not end in the CodeDirectory, or is too long
	stored        []SpecialSlot // those that are not empty, by rising K
}

// extent is count code slots from slot, for as many pages from page.
type extent struct{ page, slot, count int64 }

// readSignature reads the signature that the load commands of the slice name. An error means that src cannot be read.
//
// The index is checked before the blobs that it names are parsed. If a blob is named twice or overlaps another, or the
// slice is refused for another reason, only the fixed headers of the CodeDirectories are read, for the report, and only
// one for each slot. Otherwise no byte belongs to two blobs.
func (s *slice) readSignature(src source) (*signature, error) {
	g := &signature{off: s.commands.sigOff, size: s.commands.sigSize}
	r := sigReader{src: src, base: s.off + g.off, size: g.size, be: binary.BigEndian}
	if g.off+g.size > s.size {
		g.refusal = s.refuseSlice(g)
		return g, nil
	}
	g.magic, g.length = r.u32(0), r.u32(4)
	switch g.magic {
	case magicCodeDirectory:
		g.blobs, g.order = []blob{{magic: g.magic, length: g.length, headed: true}}, []int{0}
		g.indexed = true
	case magicSuperBlob:
		g.readIndex(&r)
	}
	if g.refusal = s.refuseSlice(g); g.refusal == nil {
		g.refusal = g.refuseBlobs()
	}
	for _, b := range g.blobs {
		known := func(d *directory) bool { return d.slot == b.slot }
		if !b.isDirectory() || !b.headed || b.magic != magicCodeDirectory || b.end() > g.size || slices.ContainsFunc(g.dirs, known) {
			continue
		}
		d := r.directory(g.off, b)
		if g.refusal == nil && d.whole {
			r.details(b, d)
		}
		g.dirs = append(g.dirs, d)
		if d.slot != slotAlternateLast { // which only Security.framework reads
			g.kernelDirs = append(g.kernelDirs, d)
		}
	}
	if g.refusal == nil && r.spent {
		g.refusal = malformed("parsing the signature takes more than %d bytes", budget(src.size()))
	}
	return g, r.err
}

// readIndex reads the index of a SuperBlob, then the headers of its blobs in rising order of offset, so that an image
// that is not in memory is read once.
func (g *signature) readIndex(r *sigReader) {
	g.count = r.u32(8)
	if g.count > maxBlobs || superBlobHeader+8*int64(g.count) > min(g.size, int64(g.length)) {
		return
	}
	g.indexed = true
	g.blobs = make([]blob, g.count)
	for i := range g.blobs {
		at := superBlobHeader + 8*int64(i)
		g.blobs[i] = blob{slot: r.u32(at), off: int64(r.u32(at + 4))}
	}
	g.sortBlobs()
	for _, i := range g.order {
		b := &g.blobs[i]
		if b.off+blobHeader <= g.size {
			b.headed, b.magic, b.length = true, r.u32(b.off), r.u32(b.off+4)
		}
	}
}

// sortBlobs sets order.
func (g *signature) sortBlobs() {
	g.order = make([]int, len(g.blobs))
	for i := range g.order {
		g.order[i] = i
	}
	slices.SortStableFunc(g.order, func(i, j int) int { return int(g.blobs[i].off - g.blobs[j].off) })
}

// sigReader reads numbers in a signature. Outside it they are 0.
type sigReader struct {
	src   source
	base  int64 // of the signature, from the start of the image
	size  int64
	be    binary.ByteOrder
	err   error // the first one of src
	spent bool  // the budget did not suffice
}

func (r *sigReader) bytes(off int64, n int) []byte {
	if r.err == nil && !r.spent && off >= 0 && off <= r.size-int64(n) {
		b, err := r.src.at(r.base+off, n)
		switch {
		case err == nil:
			return b
		case errors.Is(err, errBudget):
			r.spent = true
		case !errors.Is(err, errOutside):
			r.err = err
		}
	}
	return make([]byte, n)
}

func (r *sigReader) u8(off int64) uint8   { return r.bytes(off, 1)[0] }
func (r *sigReader) u32(off int64) uint32 { return r.be.Uint32(r.bytes(off, 4)) }
func (r *sigReader) u64(off int64) uint64 { return r.be.Uint64(r.bytes(off, 8)) }

// directory reads the header of the CodeDirectory b, in a signature at sigOff of its slice.
func (r *sigReader) directory(sigOff int64, b blob) *directory {
	at := func(off int64) int64 { return int64(r.u32(b.off + off)) }
	d := &directory{slot: b.slot, off: sigOff + b.off, length: int64(b.length)}
	d.version = r.u32(b.off + 8)
	if d.whole = headerSize(d.version) <= d.length; !d.whole {
		return d
	}
	d.flags = r.u32(b.off + cdFlags)
	d.hashOffset, d.identOffset = at(16), at(20)
	d.special, d.code, d.limit32 = at(24), at(28), at(32)
	d.limit = d.limit32
	d.platform = r.u8(b.off + cdPlatform)
	d.hashSize, d.hashType, d.pageShift = int64(r.u8(b.off+36)), HashType(r.u8(b.off+37)), r.u8(b.off+39)
	if d.version >= versionScatter {
		d.scatterOffset = at(44)
	}
	if d.version >= versionTeamID {
		d.teamOffset = at(cdTeamOffset)
	}
	if d.version >= versionCodeLimit64 {
		// A limit that does not fit is clamped past the end of any image.
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
	return d
}

// details parses the variable-length parts of the CodeDirectory b.
func (r *sigReader) details(b blob, d *directory) {
	if d.scatterOffset != 0 {
		r.scatter(b, d)
	}
	d.identLen, d.teamLen = r.stringLen(b, d.identOffset), r.stringLen(b, d.teamOffset)
	if d.teamLen > 0 {
		d.team = r.string(b.off+d.teamOffset, d.teamLen-1)
	}
	size := int64(d.hashType.size())
	for k := int64(1); k <= min(d.special, int64(lastSpecial)) && d.hashOffset >= k*size; k++ {
		stored := r.bytes(b.off+d.hashOffset-k*size, int(size))
		if !zero(stored) {
			d.stored = append(d.stored, SpecialSlot{int(k), d.hashType, bytes.Clone(stored)})
		}
	}
}

// stringLen returns the length of the string at off of b with its NUL: 0 for the offset 0, which means that there is no
// string, and -1 if it does not end within b.
func (r *sigReader) stringLen(b blob, off int64) int64 {
	if off == 0 {
		return 0
	}
	for pos := off; pos < int64(b.length) && r.err == nil && !r.spent; {
		n := min(int64(b.length)-pos, 1024)
		if i := bytes.IndexByte(r.bytes(b.off+pos, int(n)), 0); i >= 0 {
			return pos + int64(i) + 1 - off
		}
		pos += n
	}
	return -1
}

// string returns the n bytes at off.
func (r *sigReader) string(off, n int64) string {
	var s []byte
	for n > 0 && r.err == nil && !r.spent {
		part := min(n, 1024)
		s = append(s, r.bytes(off, int(part))...)
		off, n = off+part, n-part
	}
	return string(s)
}

// scatter reads the scatter list of d.
func (r *sigReader) scatter(b blob, d *directory) {
	slot := int64(0)
	d.scatter = make([]extent, 0, max(0, min((d.length-d.scatterOffset)/scatterSize, maxScatter+1)))
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

// pageSize returns the size of a page in bytes. Without a page size, one page covers everything.
func (d *directory) pageSize() int64 {
	if d.pageShift == 0 {
		return max(d.limit, 1)
	}
	return 1 << d.pageShift
}

// pages returns the number of pages below the limit.
func (d *directory) pages() int64 {
	p := d.pageSize()
	return d.limit/p + min(d.limit%p, 1)
}

// pageRange returns the range of page i, from the start of the slice.
func (d *directory) pageRange(i int64) (from, to int64) {
	p := d.pageSize()
	return i * p, min((i+1)*p, d.limit)
}

// extents returns the pages that have a slot, in rising order.
func (d *directory) extents() []extent {
	if d.scatterOffset != 0 {
		return d.scatter
	}
	return []extent{{count: d.code}}
}

// specialAt returns the offset of special slot -k from the start of the slice.
func (d *directory) specialAt(k int) int64 { return d.off + d.hashOffset - int64(k)*d.hashSize }

// kind returns the kind of the signature, for Slice.Signature.
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
