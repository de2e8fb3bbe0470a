package scan

import (
	"slices"
	"sync"

	"narseal/macho"
	"narseal/macho/bundle"
)

// links remembers what was found of the last files with several names. Without it, a tree of hard links to one large
// file would take as long as one with as many large files.
type links struct {
	mu    sync.Mutex
	all   map[State]*linked
	order []State // the oldest first
	size  int
}

// linked is what was found of a file, for its other names.
type linked struct {
	report *macho.Report      // nil: it has none, or was not examined
	digest *bundle.FileDigest // nil: it was not hashed
	size   int
}

const (
	// minLinked is the size in bytes from which on a file is remembered. A smaller one is soon hashed again.
	minLinked = 16 << 10
	// maxLinked bounds the memory for what is remembered, in bytes.
	maxLinked = 8 << 20
)

func (l *links) remembers(f *File) bool { return f.Inode.Nlink > 1 && f.Size() >= minLinked }

// find returns what is known of a file, or an empty linked.
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

// note remembers what was found of a file.
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

// cloneReport copies a report as far as others change it.
func cloneReport(r *macho.Report) *macho.Report {
	c := &macho.Report{Slices: slices.Clone(r.Slices), Hashed: r.Hashed}
	for i := range c.Slices {
		c.Slices[i].CodeDirectories = slices.Clone(c.Slices[i].CodeDirectories)
	}
	return c
}

// memoryOf is about how many bytes of memory a linked takes.
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
