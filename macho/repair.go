package macho

import "fmt"

// repairSlices repairs all slices of the image: every stale slot if all is set, otherwise the slots that ranges touch.
// The ranges count from the start of the image.
func (c Config) repairSlices(image Image, all bool, ranges []Range) (*Report, error) {
	return c.run(image, func(j *sliceJob) error { return j.repair(all, ranges) }, func(jobs []*sliceJob) error {
		return convert(jobs, all && c.OnCMS == CMSAdhoc && signersDiffer(jobs))
	})
}

// repair recomputes stale slots of the slice. It leaves a signature by a certificate to convert.
func (j *sliceJob) repair(all bool, ranges []Range) error {
	s := j.slice
	var inSlice []Range
	for _, r := range within(ranges, s.off, s.end()) {
		from, to := max(r.Off, s.off), min(r.end(), s.end())
		inSlice = append(inSlice, Range{from - s.off, to - from})
	}
	j.out.Touched = all || len(inSlice) > 0
	g := j.sig
	if g == nil {
		return nil
	}
	j.selectSlots(all, inSlice)
	unknown, limits, cms := g.unknownHash(), g.limitsDiffer(), j.out.Signature == "cms"
	write := unknown == nil && limits == nil && !cms
	if err := j.hash(write); err != nil {
		return err
	}
	stale := j.describeStale()
	if cms && stale == "" && len(within(inSlice, g.off, g.off+int64(g.length))) > 0 {
		stale = "the signature itself was touched"
	}
	switch {
	case unknown != nil:
		j.finish(unknown.status, unknown.reason)
	case stale == "":
		j.finish(StatusValid, "")
	case limits != nil:
		j.finish(StatusRefused, limits.String()+"; not repaired, "+stale)
	case cms:
		j.finish(StatusCMS, "signed by a certificate, and "+stale)
		if j.OnCMS == CMSAdhoc {
			j.convert = func() error { return j.makeAdhoc(all, inSlice) }
		}
	default:
		if err := j.audit(); err != nil {
			return err
		}
		j.finish(StatusRepaired, "")
	}
	return nil
}

// convert makes signatures by a certificate ad-hoc if one of them needs a repair, or if differ says that the slices
// already disagree on their signer. It converts all of them or none, because the kernel refuses slices that disagree.
func convert(jobs []*sliceJob, differ bool) error {
	var wanted, all []*sliceJob
	var stuck *sliceJob
	for _, j := range jobs {
		if j.out.Signature != "cms" {
			continue
		}
		all = append(all, j)
		if j.convert != nil {
			wanted = append(wanted, j)
		}
		if j.sig == nil || j.sig.unknownHash() != nil || j.sig.limitsDiffer() != nil {
			stuck = j
		}
	}
	for _, j := range wanted {
		if stuck != nil {
			j.out.Reason += fmt.Sprintf("; it stays, as slice %s at %d is %s and cannot be made ad-hoc", stuck.out.Arch, stuck.out.Offset, stuck.out.Status)
		}
	}
	if stuck != nil || len(wanted) == 0 && !differ {
		return nil
	}
	for _, j := range all {
		if j.convert == nil {
			j.convert = func() error { return j.makeAdhoc(false, nil) }
		}
		if err := j.convert(); err != nil {
			return j.wrap(err)
		}
	}
	return nil
}
