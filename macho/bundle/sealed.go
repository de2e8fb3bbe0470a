package bundle

import (
	"slices"
	"strings"

	"narseal/macho"
	"narseal/macho/bundle/resources"
)

// Limits for the cost of comparisons (resources.List.Cost): a total, and additions for each file and for each byte of
// files. With the rules that codesign writes, a file costs about 200.
const (
	costInAll   = 5 << 20
	costPerFile = 1 << 11
	costPerByte = 1
)

const (
	// maxNamed is the maximum number of problems that are named in all slices of a bundle, and maxNamedBytes that of
	// the bytes of their paths. Beyond that, a slice names one problem and the number of the others.
	maxNamed      = 4 * resources.MaxProblems
	maxNamedBytes = 1 << 20
	// maxNamedPath is the maximum number of bytes of a path that are named: PATH_MAX of macOS.
	maxNamedPath = 1024
)

// sealsResources reports whether a slice seals a list of resources.
func sealsResources(s *macho.Slice) bool {
	return slices.ContainsFunc(s.External, func(e macho.SpecialSlot) bool { return e.K == slotResources })
}

// sealed is the comparison of a bundle with its list. It is computed once for all executables whose CodeDirectories
// have the same hash types.
type sealed struct {
	types    []macho.HashType
	done     *resources.Comparison
	problems []resources.Problem // set if there is nothing to compare with
	failed   string              // why nothing could be compared

	named, namedBytes int // by the slices so far

	byPath map[string][]macho.HashType // the types of each executable
}

// compareSlice compares a slice of a complete bundle with its files.
func (b *openBundle) compareSlice(c *Checker, w *waitingSlice) {
	if w.above && !b.isContents(c, w) {
		return // it is in a directory that merely has the name MacOS
	}
	b.compareStored(c, w)
	if c.CheckResources && sealsResources(&w.slice) {
		b.compareResources(c, w)
		b.comparePartly(c, w)
	}
	if b.refused != "" && !w.slice.Status.OK() {
		w.slice.Reason += "; not sealed again: " + b.refused
	}
}

// compareResources marks a slice whose bundle has files that do not match.
func (b *openBundle) compareResources(c *Checker, w *waitingSlice) {
	s := &b.sealed
	executable := b.executable(w)
	if types := b.hashTypes(w); s.done == nil || !slices.Equal(s.types, types) {
		s.types, s.done, s.problems, s.failed = types, nil, nil, ""
		s.run(c, b, executable)
	}
	if s.failed != "" {
		mark(&w.slice, s.failed, c.Reseal != nil && (c.tree.touched || c.Touched && !b.inScope(&c.tree)))
		b.name(&w.slice, macho.Resource{Path: codeResourcesPath, Problem: s.failed})
		return
	}
	problems := s.problems
	if s.done != nil {
		most := min(resources.MaxProblems, maxNamed-s.named)
		if s.namedBytes > maxNamedBytes {
			most = 0
		}
		problems = s.done.Problems(b.excluded(c, executable), max(1, most))
	}
	if len(problems) == 0 {
		return
	}
	why := "a file is not the one that was sealed: "
	if len(problems) > 1 {
		why = "files are not those that were sealed, the first: "
	}
	touched := false
	for _, p := range problems {
		p.Path = shortened(p.Path)
		s.named++
		s.namedBytes += len(p.Path)
		b.name(&w.slice, p.Resource)
		touched = touched || p.Touched
	}
	mark(&w.slice, why+shortened(problems[0].Path)+": "+problems[0].Problem, touched)
}

// shortened truncates a path for display. The path of an entry without a file may have 64 KiB.
func shortened(path string) string {
	if len(path) <= maxNamedPath {
		return path
	}
	return strings.ToValidUTF8(path[:maxNamedPath], "") + "…"
}

// byHashTypes returns the slices, grouped by hash types.
func (b *openBundle) byHashTypes() []*waitingSlice {
	all := make([]*waitingSlice, len(b.slices))
	types := make(map[*waitingSlice][]macho.HashType, len(b.slices))
	for i := range b.slices {
		w := &b.slices[i]
		all[i] = w
		if sealsResources(&w.slice) {
			types[w] = b.hashTypes(w)
		}
	}
	slices.SortStableFunc(all, func(x, y *waitingSlice) int { return slices.Compare(types[x], types[y]) })
	return all
}

// hashTypes returns the sorted hash types of the CodeDirectories of all slices of an executable that seal the list. It
// includes all slices because different machines use different slices.
func (b *openBundle) hashTypes(w *waitingSlice) []macho.HashType {
	if b.sealed.byPath == nil {
		b.sealed.byPath = map[string][]macho.HashType{}
		for i := range b.slices {
			if o := &b.slices[i]; sealsResources(&o.slice) {
				b.sealed.byPath[o.path] = appendTypes(b.sealed.byPath[o.path], &o.slice)
			}
		}
	}
	types := appendTypes(slices.Clone(b.sealed.byPath[w.path]), &w.slice)
	slices.Sort(types)
	return types
}

// appendTypes appends the hash types of the CodeDirectories of a slice, without duplicates.
func appendTypes(types []macho.HashType, s *macho.Slice) []macho.HashType {
	for i := range s.CodeDirectories {
		if t := s.CodeDirectories[i].HashType; !slices.Contains(types, t) {
			types = append(types, t)
		}
	}
	return types
}

// run compares the bundle with its list.
func (s *sealed) run(c *Checker, b *openBundle, executable string) {
	t := &c.tree
	inScope := b.inScope(t)
	switch {
	case b.codeResources == nil && !(inScope && t.full != ""):
		if b.isBundle(c, executable) {
			s.problems = []resources.Problem{{
				Resource: macho.Resource{Path: codeResourcesPath, Problem: "missing"}, Touched: b.contents.touched,
			}}
		}
		t.stray = true
		return
	case !inScope:
		s.failed = "not checked: no directory around it has the name of a bundle"
		return
	case t.full != "":
		s.failed = "not checked: " + t.full
		return
	case b.list == nil && b.listErr == nil && int64(len(b.codeResources.kept)) != b.codeResources.size:
		s.failed = "not checked: it is too large"
		return
	}
	b.parse(c)
	if b.listErr != nil {
		s.failed = "not checked: " + b.listErr.Error()
		return
	}
	if c.cost += b.list.Cost(b.files); c.cost > costInAll+c.allowed {
		s.failed = "not checked: its rules take too long to match"
		return
	}
	s.done = b.list.Compare(&resources.Bundle{
		HashTypes: s.types, Files: b.files,
		Nested: b.mains.code, Unclear: func(i int) string { return b.mains.at(i).why },
	})
}

// parse parses the list, and releases its text.
func (b *openBundle) parse(c *Checker) {
	d := b.codeResources
	if b.list == nil && b.listErr == nil {
		c.memory.working(listMemory(len(d.kept)))
		b.list, b.listErr = resources.Parse(d.kept)
	}
	if d.kept != nil {
		c.drop(d)
		b.files = c.tree.in(b.depth)
		b.mains.files = b.files
	}
}
