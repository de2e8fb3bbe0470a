package bundle

import (
	"narseal/macho"
	"narseal/macho/bundle/resources"
)

const (
	// maxWaitingMemory is the maximum memory of waiting slices, without their stale slots, in bytes.
	maxWaitingMemory = 8 << 20
	// waitingSliceMemory is the memory of a waiting slice, directoryMemory that of each of its CodeDirectories, and
	// externalMemory that of each slot for a file of the bundle.
	waitingSliceMemory = 640
	directoryMemory    = 256
	externalMemory     = 80
)

// maxInfoPlist is the maximum size of an Info.plist that is read for the name of an executable, in bytes.
const maxInfoPlist = 1 << 20

// memory counts the bytes that a Checker keeps for files. Each charge is returned once: a tree returns the charges of
// its files, and a FileDigest those of its contents.
type memory struct {
	used    int // at most maxMemory
	reading int // by the digest that is being written
	work    int // for reading, changing and comparing a list
	share   share
}

// take charges n bytes, and reports whether they fit.
func (m *memory) take(n int) bool {
	if m.used+n > maxMemory {
		return false
	}
	m.used += n
	m.fit()
	return true
}

func (m *memory) give(n int) {
	m.used -= n
	m.fit()
}

// fit adapts the Checker's share of the Pool to its memory.
func (m *memory) fit() { m.share.fit(m.used + m.reading + m.work) }

// grow charges n bytes of the digest that is being written.
func (m *memory) grow(n int) {
	m.reading += n
	m.fit()
}

// listMemory estimates the memory for work on a list of n bytes, besides its text: the parsed list, garbage from
// decoding, and the problems that a comparison finds.
func listMemory(n int) int { return 2*n + min(8<<20, 8*n) }

// infoMemory estimates the memory that reading an Info.plist of n bytes takes, beside its text: its text in UTF-8, and the
// longest of its keys.
func infoMemory(n int) int { return 3 * n }

// working charges the memory for work on the list while the bundle is compared.
func (m *memory) working(n int) {
	m.work = n
	m.fit()
}

// Count charges the Pool for the contents that a new digest keeps, while they are written. The digest must be written
// by the goroutine that calls the Checker's methods. Afterwards, it must be passed to AddFile if IsSealedFile is true
// for the file's name.
func (c *Checker) Count(d *FileDigest) *FileDigest {
	if d.keep > 0 && c.Pool != nil {
		d.memory = &c.memory
	}
	return d
}

// Drop returns the charges of a digest that was passed to Count but is not used, because its file could not be read.
func (c *Checker) Drop(d *FileDigest) {
	c.read(d)
	c.memory.fit()
}

// read ends the charges for writing a digest.
func (c *Checker) read(d *FileDigest) {
	if d.memory != nil {
		d.memory = nil
		c.memory.reading -= cap(d.kept)
	}
}

// Release returns the Checker's share to its Pool. Call it after the last Reach, even after an error.
func (c *Checker) Release() {
	c.memory.reading = 0
	c.memory.share.fit(0)
}

// take charges n bytes for the files of the tree, and reports whether they fit.
func (c *Checker) take(n int) bool {
	if !c.memory.take(n) {
		c.tree.full = "the bundle has too many files to check"
		return false
	}
	c.tree.memory += n
	return true
}

// endTree drops the files of the tree.
func (c *Checker) endTree() {
	c.memory.give(c.tree.memory)
	c.tree = tree{}
}

// keep charges the contents of a digest, or drops them if they do not fit.
func (c *Checker) keep(d *FileDigest) {
	c.read(d)
	defer c.memory.fit()
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
	c.memory.working(infoMemory(len(d.kept)))
	name, clear := resources.MainExecutable(d.kept)
	c.memory.working(0)
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
