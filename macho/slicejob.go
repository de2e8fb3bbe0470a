package macho

import (
	"cmp"
	"fmt"
	"slices"

	"narseal/macho/internal/audit"
)

// sliceJob is the work on one slice with a signature.
type sliceJob struct {
	Config
	image Image
	slice *slice
	sig   *signature
	sels  []*selection // of the CodeDirectories whose hash type is known
	out   *Slice
	total *int64 // bytes hashed

	convert func() error // set by repair if the slice has to become ad-hoc signed
}

func (j *sliceJob) wrap(err error) error {
	return fmt.Errorf("%w (slice %s at %d)", err, j.slice.arch, j.slice.off)
}

// run reports on each slice of the image. It calls work for each slice that has a signature, then after, if not nil,
// for all of them together, and applies the rules to the slices that are still valid.
func (c Config) run(image Image, work func(*sliceJob) error, after func([]*sliceJob) error) (*Report, error) {
	src := newWindow(image)
	all, err := parseContainer(src)
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		if err := s.readHeader(src, false); err != nil {
			return nil, err
		}
	}
	report := newReport(all)
	var jobs []*sliceJob
	for i := range report.Slices {
		if s := all[i]; s.signed() {
			jobs = append(jobs, &sliceJob{Config: c, image: image, slice: s, out: &report.Slices[i], total: &report.Hashed})
		}
	}
	for _, j := range jobs {
		if err := j.parse(src); err != nil {
			return nil, err
		}
		if err := work(j); err != nil {
			return nil, j.wrap(err)
		}
	}
	if after != nil {
		if err := after(jobs); err != nil {
			return nil, err
		}
	}
	if err := applyRules(image, all, jobs); err != nil {
		return nil, err
	}
	return report, nil
}

// newReport returns the report of an image before anything is verified. It has no slices if none is a Mach-O image.
func newReport(all []*slice) *Report {
	report := &Report{Slices: []Slice{}}
	if !slices.ContainsFunc(all, func(s *slice) bool { return s.thin }) && !isCut(all) {
		return report
	}
	for _, s := range all {
		report.Slices = append(report.Slices, Slice{
			Arch: s.arch, Offset: s.off, Status: StatusUnsigned, Signature: "none", CodeDirectories: []CodeDirectory{},
			NeedsSignature: s.needsSignature(), Reason: cmp.Or(s.fault, s.commands.fault),
		})
	}
	markBroken(all, report.Slices)
	return report
}

// applyRules sets StatusRefused for slices that are valid or repaired but that the kernel refuses.
func applyRules(image Image, all []*slice, jobs []*sliceJob) error {
	signed := slices.DeleteFunc(jobs, func(j *sliceJob) bool { return j.sig == nil })
	together := checkTogether(all, signed)
	repaired, broken := false, false
	var offsets []int64
	for _, j := range signed {
		offsets = append(offsets, j.slice.off)
		j.out.Warnings = append(j.slice.warnings(j.sig, len(all)), j.overlapWarning(signed)...)
		v := cmp.Or(j.slice.checkRules(j.sig), together)
		repaired, broken = repaired || j.out.Status == StatusRepaired, broken || v != nil
		switch {
		case v == nil:
		case j.out.Status == StatusValid:
			j.out.Status, j.out.Reason = StatusRefused, v.String()
		case j.out.Status == StatusRepaired:
			j.out.Status, j.out.Reason = StatusRefused, v.String()+"; the stale slots were repaired"
		}
	}
	if !repaired || broken {
		return nil
	}
	rule, err := audit.Rules(image, offsets)
	if err == nil && rule != "" {
		err = fmt.Errorf("macho: check of the repair: the kernel's rule %s rejects the image", rule)
	}
	return err
}

// parse reads the signature. If it is refused, the report gets the reason and sig stays nil.
func (j *sliceJob) parse(src source) error {
	g, err := j.slice.readSignature(src)
	if err != nil {
		return err
	}
	j.sig = nil
	j.out.Signature, j.out.Reason = g.kind(), ""
	j.out.CodeDirectories = []CodeDirectory{}
	for _, d := range g.dirs {
		j.out.CodeDirectories = append(j.out.CodeDirectories, d.describe())
	}
	if r := j.slice.refuse(g); r != nil {
		j.out.Status, j.out.Reason = r.status, r.reason
		return nil
	}
	j.sig = g
	j.out.External = nil
	for _, d := range g.dirs {
		j.out.External = append(j.out.External, j.slice.external(g, d)...)
	}
	return nil
}

// describe returns the CodeDirectory's entry in a report.
func (d *directory) describe() CodeDirectory {
	out := CodeDirectory{Slot: d.slot, HashType: d.hashType, Slots: int(d.code), Stale: []int{}, StaleSpecial: []int{}}
	if 0 < d.pageShift && d.pageShift <= maxPageShift {
		out.PageSize = d.pageSize()
	}
	return out
}

func (j *sliceJob) verify() error {
	if j.sig == nil {
		return nil
	}
	j.selectSlots(true, nil)
	if err := j.hash(false); err != nil {
		return err
	}
	stale, unknown := j.describeStale(), j.sig.unknownHash()
	switch {
	case stale != "" && j.out.Signature == "cms":
		j.finish(StatusCMS, stale)
	case stale != "":
		j.finish(StatusStale, stale)
	case unknown != nil:
		j.finish(unknown.status, unknown.reason)
	default:
		j.finish(StatusValid, "")
	}
	return nil
}

// selectSlots selects the slots to hash: all, or those that the ranges touch, which count from the start of the slice.
func (j *sliceJob) selectSlots(all bool, ranges []Range) {
	j.sels = nil
	for _, d := range j.sig.dirs {
		switch {
		case d.hashType.size() == 0:
		case all:
			j.sels = append(j.sels, j.slice.selectAll(j.sig, d))
		default:
			j.sels = append(j.sels, j.slice.selectTouched(j.sig, d, ranges))
		}
	}
}

// hash compares the selected slots with their content. If write is set, it rewrites those that differ.
func (j *sliceJob) hash(write bool) error {
	h := &hasher{image: j.image, slice: j.slice, write: write, jobs: j.Jobs}
	if err := h.run(j.sels); err != nil {
		return err
	}
	if err := h.runSpecial(j.sig, j.sels); err != nil {
		return err
	}
	*j.total += h.hashed.Load()
	return nil
}

// audit checks the slots that were written.
func (j *sliceJob) audit() error {
	c := &j.slice.commands
	s := audit.Slice{
		Offset: j.slice.off, Signature: j.slice.off + c.sigOff, Size: c.sigSize,
		InfoPlist: j.slice.off + c.infoPlist.Off, InfoPlistSize: c.infoPlist.Len,
	}
	var written []audit.Written
	for _, sel := range j.sels {
		if len(sel.stale)+len(sel.staleSpecial) > 0 {
			written = append(written, audit.Written{Slot: sel.dir.slot, Pages: sel.stale, Special: sel.staleSpecial})
		}
	}
	return audit.Slots(j.image, s, written, j.Jobs)
}

// describeStale says how many slots are stale, for a reason. It returns "" if none is.
func (j *sliceJob) describeStale() string {
	pages, special := 0, 0
	for _, sel := range j.sels {
		pages += len(sel.stale)
		special += len(sel.staleSpecial)
	}
	switch {
	case pages+special == 0:
		return ""
	case special == 0:
		return fmt.Sprintf("stale code slots: %d", pages)
	case pages == 0:
		return fmt.Sprintf("stale special slots: %d", special)
	}
	return fmt.Sprintf("stale code slots: %d, special slots: %d", pages, special)
}

// finish sets the result in the report.
func (j *sliceJob) finish(status Status, reason string) {
	j.out.Status, j.out.Reason = status, reason
	for _, sel := range j.sels {
		for i := range j.out.CodeDirectories {
			cd := &j.out.CodeDirectories[i]
			if cd.Slot != sel.dir.slot {
				continue
			}
			if len(sel.stale) > 0 {
				cd.Stale = sel.stale
			}
			cd.StaleSpecial = append(cd.StaleSpecial, sel.staleSpecial...)
		}
	}
}
