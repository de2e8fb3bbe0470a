package macho

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// emptyRequirements is the length of an empty requirements blob: magic, length and a count of 0.
const emptyRequirements = 12

// makeAdhoc replaces a signature by a certificate with an ad-hoc one and then repairs the selected slots. Config.Repair
// describes what happens to each field.
func (j *sliceJob) makeAdhoc(all bool, ranges []Range) error {
	g := j.sig
	for _, b := range g.blobs {
		switch {
		case b.slot == slotCMS:
			if err := j.emptyBlob(b, blobHeader); err != nil {
				return err
			}
		case b.slot == slotRequirements && b.length > emptyRequirements:
			if err := j.emptyBlob(b, emptyRequirements); err != nil {
				return err
			}
		}
	}
	for _, d := range g.dirs {
		at := j.slice.off + d.off
		flags := d.flags&^(flagCheckExpiration|flagRequireLV) | flagAdhoc
		if err := writeFull(j.image, binary.BigEndian.AppendUint32(nil, flags), at+cdFlags); err != nil {
			return err
		}
		if err := writeFull(j.image, []byte{0}, at+cdPlatform); err != nil {
			return err
		}
		if d.teamOffset == 0 {
			continue
		}
		if err := writeFull(j.image, make([]byte, 4), at+cdTeamOffset); err != nil {
			return err
		}
	}

	if err := j.parse(newWindow(j.image)); err != nil {
		return err
	}
	if j.sig == nil || j.out.Signature == "cms" {
		return fmt.Errorf("macho: the new ad-hoc signature is %s: %s", j.out.Status, j.out.Reason)
	}
	j.selectSlots(all, ranges)
	for _, sel := range j.sels {
		has := slices.ContainsFunc(sel.dir.stored, func(s SpecialSlot) bool { return s.K == slotRequirements })
		if has && !slices.Contains(sel.special, slotRequirements) {
			sel.special = append(sel.special, slotRequirements)
		}
	}
	if err := j.hash(true); err != nil {
		return err
	}
	if err := j.audit(); err != nil {
		return err
	}
	j.finish(StatusRepaired, "was signed by a certificate, is now ad-hoc")
	return nil
}

// emptyBlob shortens a blob to n bytes: its length becomes n, and everything after its header becomes zeros, including
// a count within n.
func (j *sliceJob) emptyBlob(b blob, n int64) error {
	at := j.slice.off + j.sig.off + b.off
	if err := writeFull(j.image, binary.BigEndian.AppendUint32(nil, uint32(n)), at+4); err != nil {
		return err
	}
	zeros := make([]byte, min(int64(b.length)-blobHeader, 64<<10))
	for pos := int64(blobHeader); pos < int64(b.length); {
		part := zeros[:min(int64(len(zeros)), int64(b.length)-pos)]
		if err := writeFull(j.image, part, at+pos); err != nil {
			return err
		}
		pos += int64(len(part))
	}
	return nil
}
