package bundle

import (
	"slices"
	"strings"

	"narseal/macho"
	"narseal/macho/bundle/resources"
	"narseal/macho/internal/spelling"
)

// An Item is a file, a symlink or a directory that a Scope found.
type Item struct {
	Name    string
	Kind    resources.Kind
	Link    string      // the target of a symlink
	Digest  *FileDigest // of a regular file; nil: it could not be read
	Touched bool        // the caller has changed it, its name included
}

const (
	// maxMemory is the maximum memory for all files of an outermost bundle, including its lists of resources, in bytes.
	maxMemory = 20 << 20
	// itemMemory is the memory of a file without its path, and codeMemory that of a slice of nested code.
	itemMemory = 360
	codeMemory = 160
	hashMemory = 48 // for each of its CodeDirectories
	// maxLevels is the maximum depth of files in a bundle.
	maxLevels = 64
)

// tree holds the files of an outermost bundle.
type tree struct {
	inside bool
	depth  int              // of its directory
	files  []resources.File // in depth-first order; paths are relative to its directory
	depths []int
	dirs   []string // paths of the open directories, the bundle's own first
	code   []resources.Code
	// scripts holds the digests of files that may be the main executable of a bundle, by path.
	scripts map[string]*FileDigest
	hashes  []resources.CodeHash // of the CodeDirectories of the next file
	adhoc   bool                 // the next file was made ad-hoc signed
	// touched is set if the caller has changed a file, even one beyond a limit.
	touched   bool
	otherInfo bool // there is an item for which mayBeInfo is true
	stray     bool // there is an executable that seals a list, but no list at the usual place
	// Some slices of the next file seal a list (sealing), and some do not (unsealing). partly holds the numbers of
	// files with both.
	sealing, unsealing bool
	partly             map[int]bool
	memory             int
	full               string // why files are missing from the tree; empty: none are missing
}

// leave drops the bundle if the next entry is not in it.
func (c *Checker) leave(depth int) {
	t := &c.tree
	if t.inside && depth <= t.depth {
		c.endTree()
	}
	t.code, t.hashes, t.adhoc, t.sealing, t.unsealing = nil, nil, false, false, false
}

// addCode records a slice of the next file.
func (c *Checker) addCode(s *macho.Slice) {
	t := &c.tree
	if !t.inside || t.full != "" {
		return
	}
	code := codeOf(s)
	if !c.take(codeMemory + len(code.Identifier) + hashMemory*len(s.CodeDirectories)) {
		return
	}
	t.code = append(t.code, code)
	t.hashes = appendHashes(t.hashes, s)
	t.adhoc = t.adhoc || s.MadeAdhoc
	t.sealing = t.sealing || sealsResources(s)
	t.unsealing = t.unsealing || !sealsWithBest(s)
}

// appendHashes appends the hashes of the CodeDirectories of a slice.
func appendHashes(hashes []resources.CodeHash, s *macho.Slice) []resources.CodeHash {
	for i := range s.CodeDirectories {
		d := &s.CodeDirectories[i]
		var h resources.CodeHash
		copy(h.Now[:], d.CDHash)
		h.Before = h.Now
		if d.CDHashBefore != nil {
			copy(h.Before[:], d.CDHashBefore)
		}
		if len(d.CDHash) == len(h.Now) {
			hashes = append(hashes, h)
		}
	}
	return hashes
}

// best returns the CodeDirectory that Security.framework chooses: the one with the strongest hash.
func best(s *macho.Slice) *macho.CodeDirectory {
	rank := map[macho.HashType]int{macho.SHA1: 1, macho.SHA256Truncated: 2, macho.SHA256: 3, macho.SHA384: 4}
	var best *macho.CodeDirectory
	for i := range s.CodeDirectories {
		if d := &s.CodeDirectories[i]; best == nil || rank[d.HashType] > rank[best.HashType] {
			best = d
		}
	}
	return best
}

// codeOf identifies a slice by its best CodeDirectory.
func codeOf(s *macho.Slice) resources.Code {
	d := best(s)
	if d == nil {
		return resources.Code{}
	}
	return resources.Code{CDHash: d.CDHash, Identifier: d.Identifier, AdHoc: s.Signature != "cms"}
}

// sealsWithBest reports whether the best CodeDirectory of a slice seals a list. Otherwise the list is ignored.
func sealsWithBest(s *macho.Slice) bool {
	d := best(s)
	return d != nil && slices.ContainsFunc(s.External, func(e macho.SpecialSlot) bool { return e.K == slotResources && e.HashType == d.HashType })
}

// AddItem adds an item that a Scope found. Call it after AddFile and AddSlice for the same file.
func (c *Checker) AddItem(depth int, it Item) {
	t := &c.tree
	if !t.inside {
		c.endTree()
		*t = tree{inside: true, depth: depth, dirs: []string{""}}
		return
	}
	code, hashes, adhoc, sealing, unsealing := t.code, t.hashes, t.adhoc, t.sealing, t.unsealing
	t.code, t.hashes, t.adhoc, t.sealing, t.unsealing = nil, nil, false, false, false
	t.touched = t.touched || it.Touched
	c.given = nil
	level := depth - t.depth
	if level > maxLevels || level > len(t.dirs) {
		if t.full == "" {
			t.full = "files lie too deep in the bundle to be checked"
		}
		return
	}
	t.dirs = t.dirs[:level]
	path := it.Name
	if dir := t.dirs[level-1]; dir != "" {
		path = dir + "/" + it.Name
	}
	executable := ""
	if it.Digest != nil {
		executable = it.Digest.name
	}
	if t.full != "" || !c.take(itemMemory+2*len(path)+len(it.Link)+len(executable)) {
		return
	}
	f := resources.File{Path: path, Kind: it.Kind, Link: it.Link, Code: code, Touched: it.Touched, Hashes: hashes, MadeAdhoc: adhoc, Executable: executable}
	f.Name = spelling.HashOf(it.Name)
	if it.Digest != nil {
		f.Sums = it.Digest.sums()
		f.Unclear = it.Name == infoPlistName && !it.Digest.isClear
	}
	c.addScript(&it, path)
	t.otherInfo = t.otherInfo || mayBeInfo(&it)
	if sealing && unsealing {
		if t.partly == nil {
			t.partly = map[int]bool{}
		}
		t.partly[len(t.files)] = true
	}
	t.files, t.depths = append(t.files, f), append(t.depths, depth)
	c.allowed += costPerFile
	if it.Digest != nil {
		c.allowed += costPerByte * it.Digest.size
	}
	if it.Kind == resources.Directory {
		t.dirs = append(t.dirs, path)
	}
}

// in returns the files of the directory at this depth that has just ended, with paths relative to it.
func (t *tree) in(depth int) []resources.File {
	from, cut := t.from(depth)
	files := append([]resources.File(nil), t.files[from:]...)
	for i := range files {
		files[i].Path = files[i].Path[cut:]
	}
	return files
}

// from returns the index of the first file of such a directory, and the number of bytes to cut off paths to make them
// relative to it.
func (t *tree) from(depth int) (from, cut int) {
	if depth <= t.depth {
		return 0, 0
	}
	for from = len(t.files); from > 0 && t.depths[from-1] > depth; from-- {
	}
	if from == 0 || t.depths[from-1] != depth {
		return len(t.files), 0
	}
	return from, len(t.files[from-1].Path) + 1
}

func (d *FileDigest) sums() *resources.Sums {
	s := &resources.Sums{}
	d.hashes[macho.SHA1].Sum(s.SHA1[:0])
	d.hashes[macho.SHA256].Sum(s.SHA256[:0])
	d.hashes[macho.SHA384].Sum(s.SHA384[:0])
	return s
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// setNames updates the paths of executables from the tree, which has the new names of renamed files.
func (c *Checker) setNames(b *openBundle) {
	if c.Reseal == nil || len(b.slices) == 0 || !b.inScope(&c.tree) || c.tree.full != "" {
		return
	}
	from, cut := c.tree.from(b.depth)
	for i := range b.slices {
		if w := &b.slices[i]; from <= w.file && w.file < len(c.tree.files) {
			w.path = b.root + "/" + c.tree.files[w.file].Path[cut:]
		}
	}
}
