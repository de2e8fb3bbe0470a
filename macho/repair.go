package macho

// repair brings the slots of the slice in line with its content: all of them, or
// those that the ranges touch, which count from the start of the image.
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
	unknown, cms := g.unknownHash(), j.out.Signature == "cms"
	write := unknown == nil && !cms
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
	case cms && j.OnCMS != CMSAdhoc:
		j.finish(StatusCMS, "signed by a certificate, and "+stale)
	case cms:
		return j.makeAdhoc(all, inSlice)
	default:
		if err := j.audit(); err != nil {
			return err
		}
		j.finish(StatusRepaired, "")
	}
	return nil
}
