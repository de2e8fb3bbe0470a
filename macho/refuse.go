package macho

import (
	"cmp"
	"fmt"
	"slices"
)

// refusal says why a signature cannot be verified and repaired as a whole.
type refusal struct {
	status Status
	reason string
}

func malformed(format string, args ...any) *refusal {
	return &refusal{StatusMalformed, fmt.Sprintf(format, args...)}
}

func unsupported(format string, args ...any) *refusal {
	return &refusal{StatusUnsupported, fmt.Sprintf(format, args...)}
}

// refuse returns why the signature g of slice s cannot be verified and repaired, or nil if it can be. Every reason is
// listed here and in the functions that it calls. Once it returns nil, every range in g lies where it should: code before
// the signature, slots in their CodeDirectory, and nothing that is read where a repair writes.
//
// readSignature calls refuseSlice and refuseBlobs before it parses the blobs that the index names.
//
// An unknown hash type is not refused here, as the other CodeDirectories can still be verified: see unknownHash.
func (s *slice) refuse(g *signature) *refusal {
	if g.refusal != nil {
		return g.refusal
	}
	for _, d := range g.dirs {
		if r := d.refuse(g, s.commands.encrypted); r != nil {
			r.reason = fmt.Sprintf("CodeDirectory %#x: %s", d.slot, r.reason)
			return r
		}
	}
	return g.refuseSpecial()
}

// refuseSlice lists what can be wrong with the slice and its load commands.
func (s *slice) refuseSlice(g *signature) *refusal {
	c := &s.commands
	switch {
	case s.fault != "":
		return malformed("%s", s.fault)
	case c.fault != "":
		return malformed("%s", c.fault)
	case c.signatures > 1:
		return malformed("%d LC_CODE_SIGNATURE commands", c.signatures)
	case c.cmdSize != codeSignatureSize:
		return malformed("LC_CODE_SIGNATURE has size %d, want %d", c.cmdSize, codeSignatureSize)
	case g.off+g.size > s.size:
		return malformed("signature of %d bytes at %d runs past the end of the slice at %d", g.size, g.off, s.size)
	case g.off < c.end:
		return malformed("signature at %d overlaps the load commands, which end at %d", g.off, c.end)
	case c.infoPlist.end() > s.size:
		return malformed("section __info_plist ends at %d, past the end of the slice at %d", c.infoPlist.end(), s.size)
	case c.infoPlist.intersects(g.off, g.off+g.size):
		return malformed("section __info_plist overlaps the signature at %d", g.off)
	}
	return nil
}

// refuseBlobs lists what can be wrong with the SuperBlob and its index. Once it returns nil, every blob has a slot and
// bytes of its own.
func (g *signature) refuseBlobs() *refusal {
	switch {
	case g.magic != magicSuperBlob && g.magic != magicCodeDirectory:
		return malformed("signature has magic %#08x, want %#x or %#x", g.magic, uint32(magicSuperBlob), uint32(magicCodeDirectory))
	case int64(g.length) > g.size:
		return malformed("signature has length %d, LC_CODE_SIGNATURE gives it %d", g.length, g.size)
	case g.count > maxBlobs:
		return malformed("SuperBlob has %d blobs, want at most %d", g.count, maxBlobs)
	case !g.indexed:
		return malformed("SuperBlob has length %d, too short for the index of %d blobs", g.length, g.count)
	}
	index := superBlobHeader + 8*int64(g.count)
	if g.magic == magicCodeDirectory {
		index = 0
	}
	end := index
	for _, i := range g.order {
		b := g.blobs[i]
		switch {
		case b.off < index:
			return malformed("blob %#x at %d overlaps the index, which ends at %d", b.slot, b.off, index)
		case !b.headed || b.end() > int64(g.length):
			return malformed("blob %#x of %d bytes at %d runs past the end of the SuperBlob at %d", b.slot, b.length, b.off, g.length)
		case b.length < blobHeader:
			return malformed("blob %#x has length %d, shorter than its header", b.slot, b.length)
		case b.off < end:
			return malformed("blob %#x at %d overlaps the one before it, which ends at %d", b.slot, b.off, end)
		case b.wantMagic() != 0 && b.magic != b.wantMagic():
			return malformed("blob %#x has magic %#08x, want %#x", b.slot, b.magic, b.wantMagic())
		}
		end = b.end()
	}
	bySlot := slices.Clone(g.blobs)
	slices.SortFunc(bySlot, func(a, b blob) int { return cmp.Compare(a.slot, b.slot) })
	for i := 1; i < len(bySlot); i++ {
		if bySlot[i].slot == bySlot[i-1].slot {
			return malformed("two blobs %#x", bySlot[i].slot)
		}
	}
	if !slices.ContainsFunc(g.blobs, blob.isDirectory) {
		return malformed("no CodeDirectory")
	}
	return nil
}

// wantMagic returns the magic that the blob in a slot must have, or 0 if it may have any.
func (b blob) wantMagic() uint32 {
	switch {
	case b.isDirectory():
		return magicCodeDirectory
	case b.slot <= uint32(lastSpecial):
		return specialSlots[b.slot].magic
	case b.slot == slotCMS:
		return magicBlobWrapper
	}
	return 0
}

// refuse lists what can be wrong with a CodeDirectory of the signature g. encrypted says whether its slice is
// encrypted.
func (d *directory) refuse(g *signature, encrypted bool) *refusal {
	switch {
	case d.version < versionEarliest || d.version > versionLatest:
		return unsupported("version %#x, want %#x to %#x", d.version, versionEarliest, versionLatest)
	case !d.whole:
		return malformed("length %d, too short for version %#x", d.length, d.version)
	case d.hashType.size() == 0:
		return nil // unknownHash
	case d.hashSize != int64(d.hashType.size()):
		return malformed("hash size %d, want %d for %s", d.hashSize, d.hashType.size(), d.hashType)
	case d.pageShift > maxPageShift:
		return malformed("page size 2^%d, want at most 2^%d", d.pageShift, maxPageShift)
	case d.limit > g.off:
		return malformed("code limit %d is past the beginning of the signature at %d", d.limit, g.off)
	case d.preEncrypt != 0 && encrypted:
		return unsupported("pre-encrypt slots of an encrypted slice")
	case d.limit == 0:
		return malformed("code limit 0 covers nothing")
	}
	if d.scatterOffset == 0 {
		if d.code != d.pages() {
			return malformed("%d code slots for %d pages of %d bytes under the code limit %d", d.code, d.pages(), d.pageSize(), d.limit)
		}
		if gap := g.off - d.limit; d.pageShift != 0 && d.pages()*d.pageSize() < g.off || gap >= maxGap {
			return malformed("code limit %d leaves %d bytes before the signature uncovered", d.limit, gap)
		}
	} else if r := d.refuseScatter(); r != nil {
		return r
	}
	return d.refuseLayout()
}

// maxGap bounds the bytes between the code limit and the signature, which nothing hashes: signers align the signature. It
// is the page size of arm64, the largest alignment that a signer uses.
const maxGap = 16 << 10

// refuseScatter lists what can be wrong with a scatter list. The kernel, too, requires its pages to be in rising order
// (hashes in bsd/kern/ubc_subr.c of xnu).
func (d *directory) refuseScatter() *refusal {
	if d.scatterEnd == 0 {
		return malformed("scatter list at %d does not end within the CodeDirectory and %d records", d.scatterOffset, maxScatter)
	}
	page := int64(0)
	for _, e := range d.scatter {
		switch {
		case e.page < page:
			return malformed("scatter list goes back to page %d from page %d", e.page, page)
		case e.page+e.count > d.pages():
			return malformed("scatter list has page %d, the code limit %d allows %d pages", e.page+e.count-1, d.limit, d.pages())
		case e.slot+e.count > d.code:
			return malformed("scatter list uses %d slots of %d", e.slot+e.count, d.code)
		}
		page = e.page + e.count
	}
	return nil
}

// refuseLayout lists what can be wrong with the positions of a CodeDirectory's parts: none may reach past its end, and
// only the hashes may lie where a repair writes.
func (d *directory) refuseLayout() *refusal {
	slots := Range{d.hashOffset - d.special*d.hashSize, (d.special + d.code) * d.hashSize}
	twin := Range{d.preEncrypt, d.code * d.hashSize}
	if d.preEncrypt == 0 {
		twin.Len = 0
	}
	parts := []struct {
		name string
		Range
	}{
		{"header", Range{0, headerSize(d.version)}},
		{"slots", slots},
		{"pre-encrypt slots", twin},
		{"scatter list", Range{d.scatterOffset, max(d.scatterEnd-d.scatterOffset, 0)}},
		{"linkage", d.linkage},
		{"identifier", Range{d.identOffset, d.identLen}},
		{"team identifier", Range{d.teamOffset, d.teamLen}},
	}
	for _, p := range parts {
		if p.Len < 0 {
			return malformed("%s at %d is not terminated", p.name, p.Off)
		}
		if p.Off < 0 || p.end() > d.length {
			return malformed("%s at %d to %d, the CodeDirectory has %d bytes", p.name, p.Off, p.end(), d.length)
		}
		for _, written := range []Range{slots, twin} {
			if p.Range != written && p.intersects(written.Off, written.end()) {
				return malformed("%s at %d to %d overlaps the slots at %d to %d", p.name, p.Off, p.end(), written.Off, written.end())
			}
		}
	}
	return nil
}

// refuseSpecial lists the combinations of a blob and its special slot that the kernel refuses: one without the other. It
// checks the CodeDirectory that the kernel would use (csblob_find_special_slot_blob in bsd/kern/ubc_subr.c of xnu).
func (g *signature) refuseSpecial() *refusal {
	best := g.best()
	if best == nil {
		return nil
	}
	for k, special := range specialSlots {
		if special.magic == 0 {
			continue
		}
		hasBlob := slices.ContainsFunc(g.blobs, func(b blob) bool { return b.slot == uint32(k) })
		hasSlot := slices.ContainsFunc(best.stored, func(s SpecialSlot) bool { return s.K == k })
		switch {
		case hasSlot && !hasBlob:
			return malformed("CodeDirectory %#x: special slot -%d is set, but there is no blob %#x", best.slot, k, k)
		case hasBlob && !hasSlot && special.needsSlot:
			return malformed("CodeDirectory %#x: blob %#x is covered by no special slot -%d", best.slot, k, k)
		}
	}
	return nil
}

// kernelRank orders hash types as hashPriorities of bsd/kern/ubc_subr.c does. 0 means that the kernel does not know the
// type.
func (d *directory) kernelRank() int {
	switch d.hashType {
	case SHA1:
		return 1
	case SHA256Truncated:
		return 2
	case SHA256:
		return 3
	case SHA384:
		return 4
	}
	return 0
}

// unknownHash returns the refusal of a CodeDirectory whose hash type is unknown, or nil if there is none.
func (g *signature) unknownHash() *refusal {
	for _, d := range g.dirs {
		if d.hashType.size() == 0 {
			return unsupported("CodeDirectory %#x: hash type %d", d.slot, uint8(d.hashType))
		}
	}
	return nil
}
