package macho

import (
	"bytes"
	"fmt"
	"slices"

	"narseal/macho/internal/audit"
)

// Seal sets the special slots whose content is another file of a bundle to the digests that files gives for their K and
// HashType, in every CodeDirectory of every slice that has them. Slots that are empty stay empty, and a slot without a
// digest in files stays as it is. The pages do not depend on these slots.
//
// Either all slices of the image get their slots or none does. In the report, a slice is StatusRepaired if its slots
// changed and StatusValid if there was nothing to change; nothing else of it is checked. A slice that prevents this has
// the status that Repair gives it. With CMSAdhoc, an image that is signed by a certificate and has to change becomes
// ad-hoc signed, as Repair describes.
func (c Config) Seal(image Image, files []SpecialSlot) (*Report, error) {
	return c.run(image, func(j *sliceJob) error { return j.planSeal(files) }, func(jobs []*sliceJob) error {
		return sealAll(jobs, files)
	})
}

// toSeal returns the new digests for the slots of a CodeDirectory.
func (j *sliceJob) toSeal(d *directory, files []SpecialSlot) []SpecialSlot {
	var list []SpecialSlot
	for _, stored := range j.slice.external(j.sig, d) {
		for _, f := range files {
			if f.K == stored.K && f.HashType == stored.HashType && !bytes.Equal(f.Digest, stored.Digest) {
				list = append(list, f)
			}
		}
	}
	return list
}

// planSeal decides whether a slice has to change, and whether it can.
func (j *sliceJob) planSeal(files []SpecialSlot) error {
	g := j.sig
	if g == nil {
		return nil
	}
	needed := slices.ContainsFunc(g.dirs, func(d *directory) bool { return len(j.toSeal(d, files)) > 0 })
	unknown, limits := g.unknownHash(), g.limitsDiffer()
	switch {
	case !needed:
		j.finish(StatusValid, "")
	case unknown != nil:
		j.finish(unknown.status, unknown.reason)
	case limits != nil:
		j.finish(StatusRefused, limits.String())
	case j.out.Signature == "cms":
		j.finish(StatusCMS, "signed by a certificate, and the files of its bundle changed")
		if j.OnCMS == CMSAdhoc {
			j.convert = func() error { return j.makeAdhoc(false, nil) }
		}
	default:
		j.finish(StatusRepaired, "")
	}
	return nil
}

// sealAll writes the slots, unless a slice prevents it.
func sealAll(jobs []*sliceJob, files []SpecialSlot) error {
	blocked := func(j *sliceJob) bool { return !j.out.Status.OK() && j.convert == nil }
	i := slices.IndexFunc(jobs, blocked)
	if i < 0 {
		if err := convert(jobs, false); err != nil {
			return err
		}
		// Either all signatures by a certificate are ad-hoc now or none is.
		i = slices.IndexFunc(jobs, func(j *sliceJob) bool { return !j.out.Status.OK() })
	}
	if i >= 0 {
		why := fmt.Sprintf("not sealed, as slice %s at %d is %s", jobs[i].out.Arch, jobs[i].out.Offset, jobs[i].out.Status)
		for _, j := range jobs {
			if j.out.Status == StatusRepaired {
				j.finish(StatusStale, why)
			}
		}
		return nil
	}
	for _, j := range jobs {
		if j.sig == nil {
			continue
		}
		if err := j.seal(files); err != nil {
			return j.wrap(err)
		}
	}
	return nil
}

// seal writes the slots of a slice, and checks them.
func (j *sliceJob) seal(files []SpecialSlot) error {
	s := audit.Slice{Offset: j.slice.off, Signature: j.slice.off + j.slice.commands.sigOff, Size: j.slice.commands.sigSize}
	for _, d := range j.sig.dirs {
		if d.hashType.size() == 0 {
			continue
		}
		list := j.toSeal(d, files)
		for _, f := range list {
			if err := writeFull(j.image, f.Digest, j.slice.off+d.specialAt(f.K)); err != nil {
				return err
			}
		}
		for _, f := range list {
			if err := audit.Stored(j.image, s, d.slot, f.K, f.Digest); err != nil {
				return err
			}
		}
	}
	// Later steps read the new slots.
	status, reason := j.out.Status, j.out.Reason
	if err := j.parse(newWindow(j.image)); err != nil {
		return err
	}
	if j.sig == nil {
		return fmt.Errorf("macho: the newly sealed signature is %s: %s", j.out.Status, j.out.Reason)
	}
	j.out.Status, j.out.Reason = status, reason
	return nil
}
