package macho

import (
	"fmt"
	"slices"
	"sort"
)

// A rule is a check that the kernel applies to a signature whose hashes all match. Its name appears in reasons and in
// the table of docs/kernel-rules.md, which cites the source of each rule.
type rule struct {
	name     string
	function string // of xnu
	file     string
	since    string // the first xnu version that has it
}

// The rules, as of xnu-11417.101.15. A check of only some versions is a warning instead: see warnings.
var (
	rulePageSize      = rule{"page-size", "cs_validate_codedirectory", "bsd/kern/ubc_subr.c", "xnu-2782"}
	ruleHashType      = rule{"hash-type", "cs_find_md", "bsd/kern/ubc_subr.c", "xnu-1228"}
	ruleSameHash      = rule{"same-hash-type", "cs_validate_csblob", "bsd/kern/ubc_subr.c", "xnu-3248"}
	ruleDirectorySlot = rule{"directory-slot", "cs_validate_csblob", "bsd/kern/ubc_subr.c", "xnu-3248"}
	ruleCodeLimit     = rule{"code-limit", "cs_blob_init_validated", "bsd/kern/ubc_subr.c", "xnu-1228"}
	ruleCoverage      = rule{"executable-pages", "cs_validate_hash", "bsd/kern/ubc_subr.c", "xnu-2782"}
	ruleAlignment     = rule{"slice-alignment", "load_segment", "bsd/kern/mach_loader.c", "xnu-1228"}
	ruleSegments      = rule{"segment-in-slice", "load_segment", "bsd/kern/mach_loader.c", "xnu-792"}
	ruleRecord        = rule{"table-architecture", "exec_mach_imgact", "bsd/kern/kern_exec.c", "xnu-3247"}
	ruleSameArch      = rule{"same-architecture", "fatfile_validate_fatarches", "bsd/kern/mach_fat.c", "xnu-2782"}
	ruleFat64         = rule{"fat64-program", "exec_fat_imgact", "bsd/kern/kern_exec.c", "xnu-1228"}
	ruleSameSigner    = rule{"same-signer", "ubc_cs_blob_add", "bsd/kern/ubc_subr.c", "xnu-2782"}

	rules = []rule{
		rulePageSize, ruleHashType, ruleSameHash, ruleDirectorySlot, ruleCodeLimit,
		ruleCoverage, ruleAlignment, ruleSegments, ruleRecord, ruleSameArch, ruleFat64, ruleSameSigner,
	}
)

// A violation is a rule that a slice breaks, and how.
type violation struct {
	rule
	how string
}

func (v *violation) String() string {
	return fmt.Sprintf("%s: %s (%s of xnu)", v.name, v.how, v.function)
}

func (r rule) broken(format string, args ...any) *violation {
	return &violation{r, fmt.Sprintf(format, args...)}
}

// checkRules returns the first rule that the slice breaks, or nil. refuse must have returned nil for its signature g.
func (s *slice) checkRules(g *signature) *violation {
	if v := s.checkDirectories(g); v != nil {
		return v
	}
	if v := g.checkCodeLimit(); v != nil {
		return v
	}
	if v := s.checkCoverage(g); v != nil {
		return v
	}
	return s.checkPlace()
}

// best returns the CodeDirectory that the kernel uses, or nil.
func (g *signature) best() *directory {
	var best *directory
	for _, d := range g.kernelDirs {
		if d.kernelRank() > 0 && (best == nil || d.kernelRank() > best.kernelRank()) {
			best = d
		}
	}
	return best
}

// checkDirectories checks each CodeDirectory by itself, and their hash types together.
func (s *slice) checkDirectories(g *signature) *violation {
	dirs := g.kernelDirs
	if len(dirs) == 0 {
		return ruleDirectorySlot.broken("the only CodeDirectory is in slot %#x, the kernel reads 0x0 and 0x1000 to 0x1004", slotAlternateLast)
	}
	large := "4096 or 16384"
	switch s.header[0] {
	case cpuI386, cpuX8664, cpuPPC, cpuPPC64:
		large = "4096"
	}
	for _, d := range dirs {
		if d.pageShift != 12 && (d.pageShift != 14 || large == "4096") {
			if d.pageShift == 0 {
				return rulePageSize.broken("CodeDirectory %#x has one page for all code, want pages of %s bytes", d.slot, large)
			}
			return rulePageSize.broken("CodeDirectory %#x has pages of %d bytes, want %s", d.slot, d.pageSize(), large)
		}
		if d.kernelRank() == 0 {
			return ruleHashType.broken("CodeDirectory %#x has hash type %s", d.slot, d.hashType)
		}
	}
	// Only a repetition of the best type so far is refused.
	best := 0
	for _, d := range dirs {
		switch rank := d.kernelRank(); {
		case rank == best:
			return ruleSameHash.broken("CodeDirectory %#x has hash type %s, as an earlier one has", d.slot, d.hashType)
		case rank > best:
			best = rank
		}
	}
	return nil
}

// checkCodeLimit checks the code limits. The kernel reads only the 32-bit one.
func (g *signature) checkCodeLimit() *violation {
	for _, d := range g.kernelDirs {
		if d.limit32 == 0 {
			return ruleCodeLimit.broken("CodeDirectory %#x has code limit 0 and 64-bit code limit %d, which the kernel does not read", d.slot, d.limit)
		}
	}
	return g.limitsDiffer()
}

// limitsDiffer reports whether the kernel hashes another part of the slice than Security.framework does.
func (d *directory) limitsDiffer() bool { return d.limit32 != 0 && d.limit32 != d.limit }

// limitsDiffer returns the violation of a CodeDirectory whose two limits differ: a repair cannot know which one counts.
func (g *signature) limitsDiffer() *violation {
	for _, d := range g.dirs {
		if d.limitsDiffer() {
			return ruleCodeLimit.broken("CodeDirectory %#x has code limit %d and 64-bit code limit %d", d.slot, d.limit32, d.limit)
		}
	}
	return nil
}

// checkCoverage checks that the pages of the load commands and of executable segments have a slot, and that no page is
// compared with the slot of another. The kernel does not execute code in the last page if that page is partial.
func (s *slice) checkCoverage(g *signature) *violation {
	d := g.best()
	if d == nil || d.pageShift == 0 || !s.commands.loadable() {
		return nil
	}
	runs := d.coveredRuns()
	if page := uncovered(runs, 0, (s.commands.end-1)/d.pageSize()); page >= 0 {
		return ruleCoverage.broken("page %d has load commands, but no slot in CodeDirectory %#x", page, d.slot)
	}
	whole := d.limit / d.pageSize() // pages before the partial one
	for _, text := range s.commands.executable {
		first, last := text.Off/d.pageSize(), (text.end()-1)/d.pageSize()
		page := uncovered(runs, first, last)
		if page < 0 && last >= whole {
			page = max(first, whole)
		}
		if page >= 0 {
			return ruleCoverage.broken("page %d is executable, but has no slot for a whole page in CodeDirectory %#x", page, d.slot)
		}
	}
	if page := g.misread(d, runs); page >= 0 {
		return ruleCoverage.broken("page %d has no slot in the scatter list of CodeDirectory %#x, and is compared with what follows the slot of page %d", page, d.slot, page-1)
	}
	return nil
}

// misread returns a page without a slot that the kernel compares all the same, or -1. The kernel uses a scatter record for
// the page after its last one, too (hashes in bsd/kern/ubc_subr.c), and takes what follows the record's slots in the
// signature: the slot of another page, or something else.
func (g *signature) misread(d *directory, runs []extent) int64 {
	for i, e := range runs {
		page, slot := e.page+e.count, e.slot+e.count
		if i+1 < len(runs) || page < d.pages() && d.off+d.hashOffset+(slot+1)*d.hashSize <= g.off+g.size {
			return page
		}
	}
	return -1
}

// coveredRuns returns the pages that have a slot, in as few runs as possible: the time to check an image with many
// scatter records and many segments is then proportional to its size.
func (d *directory) coveredRuns() []extent {
	if d.scatterOffset == 0 {
		return d.extents()
	}
	var runs []extent
	for _, e := range d.scatter {
		if n := len(runs); n > 0 && runs[n-1].page+runs[n-1].count == e.page {
			runs[n-1].count += e.count
			continue
		}
		runs = append(runs, e)
	}
	return runs
}

// uncovered returns a page from first to last that is in no run, or -1.
func uncovered(runs []extent, first, last int64) int64 {
	i := sort.Search(len(runs), func(i int) bool { return runs[i].page+runs[i].count > first })
	switch {
	case i == len(runs) || runs[i].page > first:
		return first
	case runs[i].page+runs[i].count <= last:
		return runs[i].page + runs[i].count
	}
	return -1
}

// checkPlace checks where in the image the slice is.
func (s *slice) checkPlace() *violation {
	if !s.commands.loadable() {
		return nil
	}
	page := int64(4096)
	if s.header[0] == cpuARM64 {
		page = 16384
	}
	if s.off%page != 0 {
		return ruleAlignment.broken("the slice is at %d, which is not a multiple of %d", s.off, page)
	}
	if c := &s.commands; c.segments.pastEnd != "" && c.kernelLoads() {
		return ruleSegments.broken("%s ends past the slice, which has %d bytes", c.segments.pastEnd, s.size)
	}
	if s.commands.fileType == typeExecute && s.recordDiffers() {
		return ruleRecord.broken("the fat table says cputype %#x, cpusubtype %#x, the header says %#x, %#x", s.cpu[0], s.cpu[1], s.header[0], s.header[1])
	}
	if s.fat64 && s.commands.fileType == typeExecute {
		return ruleFat64.broken("a program in a fat file with 64-bit offsets")
	}
	return nil
}

// A signer is what the signatures of all slices of a file must agree on.
type signer struct {
	cms, platform, hasTeam bool
	team                   string // may be empty
}

func (g *signature) signer() signer {
	out := signer{cms: g.kind() == "cms"}
	if d := g.best(); d != nil {
		// The kernel ignores the team of Apple's own code.
		if out.platform = d.platform != 0; !out.platform {
			out.hasTeam, out.team = d.teamLen > 0, d.team
		}
	}
	return out
}

// checkTogether returns the rule that the slices of an image break together, or nil. signed holds the slices whose
// signature is not refused.
func checkTogether(all []*slice, signed []*sliceJob) *violation {
	if len(all) < 2 {
		return nil
	}
	if s := sameArchitecture(all); s != nil {
		return ruleSameArch.broken("two slices are for cputype %#x, cpusubtype %#x", s.cpu[0], s.cpu[1])
	}
	if j := otherSigner(signed); j != nil {
		a, b := signed[0].sig.signer(), j.sig.signer()
		return ruleSameSigner.broken("slices %s and %s disagree on their %s", signed[0].out.Arch, j.out.Arch, a.difference(b))
	}
	return nil
}

// otherSigner returns the first slice whose signer is not that of signed[0], or nil.
func otherSigner(signed []*sliceJob) *sliceJob {
	for _, j := range signed[min(1, len(signed)):] {
		if j.sig.signer() != signed[0].sig.signer() {
			return j
		}
	}
	return nil
}

// signersDiffer reports whether slices disagree on their signer.
func signersDiffer(jobs []*sliceJob) bool {
	signed := slices.DeleteFunc(slices.Clone(jobs), func(j *sliceJob) bool { return j.sig == nil })
	return otherSigner(signed) != nil
}

// overlapWarning says which other slice the kernel considers to overlap this one. When the kernel has loaded a slice,
// it records what the signature covers, rounded up to whole pages of the signature, and refuses another slice in these
// bytes (ubc_cs_blob_add of xnu). Only pages of 16384 bytes before a slice at a multiple of 4096 can reach that far.
func (j *sliceJob) overlapWarning(signed []*sliceJob) []string {
	d := j.sig.best()
	if d == nil || d.pageShift > 16 {
		return nil
	}
	end := j.slice.off + (d.limit32+d.pageSize()-1)&^(d.pageSize()-1)
	for _, next := range signed {
		if s := next.slice; j.slice.off < s.off && s.off < end {
			return []string{fmt.Sprintf("its last page reaches to %d, slice %s begins at %d: a kernel that has loaded one of them refuses the other", end, s.arch, s.off)}
		}
	}
	return nil
}

// difference names what a and b disagree on.
func (a signer) difference(b signer) string {
	switch {
	case a.cms != b.cms:
		return "signer: one is signed by a certificate, one is not"
	case a.platform != b.platform:
		return "platform: one claims to be Apple's, one does not"
	}
	describe := func(s signer) string {
		if !s.hasTeam {
			return "none"
		}
		return fmt.Sprintf("%.100q", s.team)
	}
	return "team: " + describe(a) + " and " + describe(b)
}

// warnings lists what some versions of the kernel or of dyld refuse.
func (s *slice) warnings(g *signature, slices int) []string {
	var all []string
	for _, d := range g.kernelDirs {
		if d.length < headerSize(versionLinkage) {
			all = append(all, fmt.Sprintf("CodeDirectory %#x has %d bytes: since xnu-7195 (macOS 11) kernels refuse fewer than %d", d.slot, d.length, headerSize(versionLinkage)))
		}
	}
	if c := &s.commands; c.segments.pastEnd != "" && c.loadable() && !c.kernelLoads() {
		all = append(all, fmt.Sprintf("%s ends past the slice, which has %d bytes: since dyld-1323 (macOS 26) dyld refuses that", c.segments.pastEnd, s.size))
	}
	if w := s.linkeditWarning(g); w != "" {
		all = append(all, w)
	}
	if n := (smallFatTable - 8) / int(fatRecordSize(magicFat)); slices > n && !s.fat64 {
		all = append(all, fmt.Sprintf("%d slices: kernels with pages of 4096 bytes accept %d", slices, n))
	}
	return all
}
