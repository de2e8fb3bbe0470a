package scan

import (
	"slices"
	"sync"

	"narseal/macho"
	"narseal/macho/bundle"
)

// links remembers the results of the last files with several names. Without it, scanning many hard links to one large
// file would take as long as scanning as many large files.
type links struct {
	mu    sync.Mutex
	all   map[State]*linked
	order []State // the oldest first
	size  int
}

// linked holds the results of a file, for its other names.
type linked struct {
	report *macho.Report      // nil: no report, or not examined
	digest *bundle.FileDigest // nil: not hashed
	size   int
}

const (
	// minLinked is the minimum size in bytes of a file that is remembered. Smaller files are quick to hash again.
	minLinked = 16 << 10
	// maxLinked is the maximum memory for remembered results, in bytes.
	maxLinked = 8 << 20
)

func (l *links) remembers(f *File) bool { return f.Inode.Nlink > 1 && f.Size() >= minLinked }

// find returns the remembered results of a file, or an empty linked.
func (l *links) find(f *File) linked {
	if !l.remembers(f) {
		return linked{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if known := l.all[StateOf(&f.Inode)]; known != nil {
		return *known
	}
	return linked{}
}

// note remembers the results of a file.
func (l *links) note(f *File, report *macho.Report, digest *bundle.FileDigest) {
	if l.remembers(f) && f.Unchanged() == nil {
		l.remember(f, report, digest)
	}
}

func (l *links) remember(f *File, report *macho.Report, digest *bundle.FileDigest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := StateOf(&f.Inode)
	known := l.all[key]
	if known == nil {
		known = &linked{}
		if l.all == nil {
			l.all = map[State]*linked{}
		}
		l.all[key] = known
		l.order = append(l.order, key)
	}
	l.size -= known.size
	if report != nil {
		known.report = cloneReport(report)
	}
	if digest != nil {
		known.digest = digest
	}
	known.size = memoryOf(known)
	l.size += known.size
	for l.size > maxLinked {
		l.size -= l.all[l.order[0]].size
		delete(l.all, l.order[0])
		l.order = l.order[1:]
	}
}

// cloneReport copies the parts of a report that its receivers change.
func cloneReport(r *macho.Report) *macho.Report {
	c := &macho.Report{Slices: slices.Clone(r.Slices), Hashed: r.Hashed}
	for i := range c.Slices {
		c.Slices[i].CodeDirectories = slices.Clone(c.Slices[i].CodeDirectories)
	}
	return c
}

// memoryOf estimates the size of a linked in memory, in bytes.
func memoryOf(l *linked) int {
	const fixed, each, digest = 512, 512, 2 << 10
	n := fixed
	if l.digest != nil {
		n += digest + l.digest.Memory()
	}
	if l.report == nil {
		return n
	}
	for i := range l.report.Slices {
		s := &l.report.Slices[i]
		n += each + len(s.Reason) + 64*(len(s.Warnings)+len(s.Regions)+len(s.External))
		for _, note := range s.Notes {
			n += 64 + len(note.Text)
		}
		for k := range s.CodeDirectories {
			d := &s.CodeDirectories[k]
			n += 256 + 8*(cap(d.Stale)+cap(d.StaleSpecial)) + len(d.Identifier)
		}
	}
	return n
}
