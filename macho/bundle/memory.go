package bundle

import (
	"narseal/macho"
	"narseal/macho/bundle/resources"
)

const (
	// maxWaitingMemory bounds the memory of the slices that wait, without their stale slots, in bytes.
	maxWaitingMemory = 8 << 20
	// waitingSliceMemory is the memory of one, directoryMemory that of each of its CodeDirectories, and externalMemory
	// that of each slot for a file of the bundle.
	waitingSliceMemory = 640
	directoryMemory    = 256
	externalMemory     = 80
)

// memory counts the bytes that a Checker keeps of files. What is charged is given back once, by what it was charged for:
// a tree gives back what its files took, and a FileDigest what its contents took.
type memory struct{ used int }

// take charges n bytes, and reports whether they fit.
func (m *memory) take(n int) bool {
	if m.used+n > maxMemory {
		return false
	}
	m.used += n
	return true
}

func (m *memory) give(n int) { m.used -= n }

// take charges n bytes for the files of the tree, and reports whether they fit.
func (c *Checker) take(n int) bool {
	if !c.memory.take(n) {
		c.tree.full = "the bundle has too many files to check"
		return false
	}
	c.tree.memory += n
	return true
}

// endTree forgets the files of the tree.
func (c *Checker) endTree() {
	c.memory.give(c.tree.memory)
	c.tree = tree{}
}

// keep charges the contents that a digest keeps, or drops them.
func (c *Checker) keep(d *FileDigest) {
	n := cap(d.kept)
	if n == 0 {
		return
	}
	if c.memory.take(n) {
		d.charged = n
		return
	}
	c.tree.full = "the bundle has too many files to check"
	d.kept, d.keep = nil, 0
}

// release ends the use of a digest by one bundle. After the last one, its contents are dropped.
func (c *Checker) release(d *FileDigest) {
	if d == nil {
		return
	}
	if d.users--; d.users <= 0 {
		c.drop(d)
	}
}

// drop drops the contents of a digest.
func (c *Checker) drop(d *FileDigest) {
	c.memory.give(d.charged)
	d.kept, d.charged = nil, 0
}

// releaseAll ends the use of all digests by a bundle.
func (b *openBundle) releaseAll(c *Checker) {
	for _, file := range b.detached {
		c.release(file.digest)
	}
	c.release(b.infoPlist)
	c.release(b.inResources)
	c.release(b.codeResources)
}

// readExecutable reads the name of the main executable from an Info.plist, once: many slices and items need it.
func (c *Checker) readExecutable(d *FileDigest) {
	if d.size != int64(len(d.kept)) {
		return
	}
	name, clear := resources.MainExecutable(d.kept)
	if !c.memory.take(len(name)) {
		c.tree.full = "the bundle has too many files to check"
		return
	}
	d.charged += len(name)
	d.name, d.isClear = name, clear
}

// waitingMemory estimates the memory of a slice's report, without its stale slots.
func waitingMemory(s *macho.Slice, path string) int {
	n := waitingSliceMemory + len(path) + len(s.Reason) + externalMemory*len(s.External)
	for i := range s.CodeDirectories {
		n += directoryMemory + len(s.CodeDirectories[i].Identifier)
	}
	return n
}
