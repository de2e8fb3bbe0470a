package macho

import "fmt"

// sliceJob is the work on one slice that has a signature which is not refused.
type sliceJob struct {
	Config
	image Image
	slice *slice
	sig   *signature
	sels  []*selection // of the CodeDirectories with a known hash type
	out   *Slice
	total *int64 // bytes hashed
}

// run reports on each slice of the image; work does what is to be done with one
// whose signature is not refused.
func (c Config) run(image Image, work func(*sliceJob) error) (*Report, error) {
	src := &window{image: image}
	all, err := parseContainer(src)
	if err != nil {
		return nil, err
	}
	report := &Report{Slices: []Slice{}}
	found := false
	for _, s := range all {
		if err := s.readHeader(src, false); err != nil {
			return nil, err
		}
		found = found || s.thin
	}
	if !found {
		return report, nil
	}
	for _, s := range all {
		report.Slices = append(report.Slices, Slice{
			Arch: s.arch, Offset: s.off, Status: StatusUnsigned, Signature: "none", CodeDirectories: []CodeDirectory{},
		})
		out := &report.Slices[len(report.Slices)-1]
		if !s.signed() {
			out.Reason = s.fault
			if out.Reason == "" {
				out.Reason = s.commands.fault
			}
			continue
		}
		j := &sliceJob{Config: c, image: image, slice: s, out: out, total: &report.Hashed}
		if err := j.parse(src); err != nil {
			return nil, err
		}
		if err := work(j); err != nil {
			return nil, fmt.Errorf("%w (slice %s at %d)", err, s.arch, s.off)
		}
	}
	return report, nil
}

// parse reads the signature. If it is refused, the report says so and sig is nil.
func (j *sliceJob) parse(src source) error {
	g, err := j.slice.readSignature(src)
	if err != nil {
		return err
	}
	j.out.Signature = g.kind()
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

// selectSlots chooses what to hash: all of it, or what touches the ranges, which
// count from the start of the slice.
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

// hash compares the selected slots, and with write sets those that differ.
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

// describeStale says in words how many slots differ; empty: none.
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

// finish writes the outcome into the report.
func (j *sliceJob) finish(status Status, reason string) {
	j.out.Status, j.out.Reason = status, reason
	for _, sel := range j.sels {
		for i := range j.out.CodeDirectories {
			cd := &j.out.CodeDirectories[i]
			if cd.Slot != sel.dir.slot {
				continue
			}
			cd.Stale = append(cd.Stale, sel.stale...)
			cd.StaleSpecial = append(cd.StaleSpecial, sel.staleSpecial...)
		}
	}
}
