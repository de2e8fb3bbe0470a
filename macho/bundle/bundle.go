// Package bundle compares the main executable of a bundle with the files that it seals.
//
// A bundle's main executable seals two other files of the bundle: its special slot -1 is the hash of the bundle's
// Info.plist, and -3 that of its list of resources, _CodeSignature/CodeResources (BundleDiskRep in Security.framework's
// bundlediskrep.cpp). A Checker looks for them in these places, where ROOT is a directory:
//
//	                    executable      Info.plist            CodeResources
//	application, …      ROOT/MacOS/X    ROOT/Info.plist       ROOT/_CodeSignature/CodeResources
//	framework           ROOT/X          ROOT/Resources/…      same
//	flat (iOS)          ROOT/X          ROOT/Info.plist       same
//
// The first ROOT is named Contents. The ROOT of a framework is usually the directory of a version. In a ROOT other than
// Contents, an Info.plist in Resources takes precedence over one in ROOT, as for CFBundle.
//
// If the executable is not an image (but a script, for example), its signature is in files beside CodeResources.
//
// CodeResources seals the other files of the bundle (package resources). A Checker with CheckResources compares them, too.
package bundle

import (
	"bytes"
	"cmp"
	"hash"
	"slices"
	"strings"

	"narseal/macho"
	"narseal/macho/bundle/resources"
)

const (
	infoPlistName     = "Info.plist"
	codeResourcesName = "CodeResources"
	codeResourcesDir  = "/_CodeSignature"
	codeResourcesPath = "_CodeSignature/CodeResources"
	resourcesDir      = "/Resources"
	contentsName      = "Contents"
	contentsDir       = "/" + contentsName
	executablesDir    = "/MacOS"
)

// slotResources is k of the special slot -k that hashes CodeResources (CSSLOT_RESOURCEDIR).
const slotResources = 3

// slotInfoPlist is k of the special slot -k that hashes Info.plist (CSSLOT_INFOSLOT).
const slotInfoPlist = 1

const (
	// maxDepth is the maximum depth of a bundle: as deep as Nix allows in an archive, and far deeper than real bundles.
	maxDepth = 64
	// maxFileDepth is the maximum depth of a file such as ROOT/MacOS/X.
	maxFileDepth = maxDepth + 2
	// maxWaiting is the maximum number of slices that wait for the end of their bundle, and maxStale that of the stale
	// slots in their reports.
	maxWaiting = 4096
	maxStale   = 1 << 19
)

// A Checker compares main executables with the files of their bundle. The caller adds the files of a tree in
// depth-first order, the order of archives. The Checker keeps only digests and reports, a few megabytes at most. The
// zero Checker is ready to use.
//
// Paths are slash-separated and relative to the tree's root, which is "/". Functions that return a path are called only
// if a bundle can be there. A depth is the number of directories around a file, including the root.
type Checker struct {
	// CheckResources makes the Checker compare all files of bundles with their CodeResources. The caller must then add
	// everything that a Scope finds.
	CheckResources bool
	// RootName is the name of the tree's root, if it has one.
	RootName string
	// Script, if not nil, is called for each complete bundle whose main executable is not an image, and usually a script.
	// It gets the path of the executable and a slice with the state of its signature.
	Script func(path string, s macho.Slice)
	// Reseal, if not nil, repairs the seals of bundles, with CheckResources.
	Reseal *Reseal
	// Pool, if not nil, limits the memory of this and other Checkers. Release must then be called at the end.
	Pool *Pool
	// Touched says that the caller has changed a file of the tree.
	Touched bool

	memory  memory
	tree    tree
	open    []*openBundle // directories around the current file, the outermost first
	waiting int           // waiting slices in all of open
	stale   int           // stale slots of these slices
	reports int           // memory of their reports in bytes, without stale slots
	cost    int64         // of the comparisons so far
	allowed int64         // cost that files have added to costInAll

	given macho.Image // contents of the next file
	err   error
}

// openBundle is a directory that may be the ROOT of a bundle.
type openBundle struct {
	root          string
	depth         int // directories from the tree's root
	infoPlist     *FileDigest
	inResources   *FileDigest // the Info.plist in Resources
	codeResources *FileDigest
	detached      []detachedFile
	slices        []waitingSlice
	given         int      // slices with contents
	contents      contents // of the directory, counted once
	listContents  macho.Image
	refused       string          // why it was not sealed again
	scripted      bool            // its signature is in files and was compared
	list          *resources.List // of codeResources, parsed once
	listErr       error
	files         []resources.File // files to compare with the list
	sealed        sealed
	found         map[string]*resources.File // by path; nil: there is no file
	places        layout
	mains         mains             // in files
	inner         string            // the Contents or version that was compared, a relative path
	versions      map[string]string // the versions that were compared, with their main executables, if known
	mainInMacOS   bool              // the main executable, a script, is in MacOS of the root
}

type waitingSlice struct {
	slice macho.Slice
	then  func(macho.Slice)
	path  string // of the image

	memory int // of its report

	above bool // if the root is a Contents directory, it is the bundle of this slice

	file     int         // number of the image in the tree
	contents macho.Image // of the image, if it may be changed
}

// A FileDigest hashes the bytes written to it with every hash that a CodeDirectory may use.
type FileDigest struct {
	// Touched marks a file that the caller has changed.
	Touched bool

	hashes [macho.SHA512 + 1]hash.Hash
	size   int64
	kept   []byte // contents, up to keep bytes
	keep   int

	memory  *memory // of the Checker that charges kept while it grows
	charged int     // bytes of kept that the Checker has charged
	users   int     // bundles that use the digest
	name    string  // the name of the executable in an Info.plist
	isClear bool    // CFBundle certainly finds the same name

	pages  *pages // only of a file that may be a script, judging by its first byte
	script bool   // it may be a script
}

// NewItemDigest returns the digest of an empty file, for a file with this base name that a Scope found.
func NewItemDigest[T string | []byte](name T) *FileDigest {
	if !IsSealedFile(name) {
		d := &FileDigest{script: true}
		for _, t := range []macho.HashType{macho.SHA1, macho.SHA256, macho.SHA384} {
			d.hashes[t] = t.New()
		}
		d.hashes[macho.SHA256Truncated] = d.hashes[macho.SHA256]
		return d
	}
	d := NewFileDigest()
	d.keep = maxInfoPlist
	switch {
	case string(name) == codeResourcesName:
		d.keep = resources.MaxSize
	case isDirectoryFile(name):
		d.keep = maxDirectory
	}
	return d
}

// Memory returns the memory for what the digest keeps of the contents, in bytes.
func (d *FileDigest) Memory() int {
	n := cap(d.kept)
	if d.pages != nil {
		n += cap(d.pages.sums)
	}
	return n
}

// NewFileDigest returns the digest of an empty file.
func NewFileDigest() *FileDigest {
	d := &FileDigest{}
	for _, t := range []macho.HashType{macho.SHA1, macho.SHA256, macho.SHA384, macho.SHA512} {
		d.hashes[t] = t.New()
	}
	d.hashes[macho.SHA256Truncated] = d.hashes[macho.SHA256]
	return d
}

// Write adds p to the file. It never fails.
func (d *FileDigest) Write(p []byte) (int, error) {
	if d.script && d.size == 0 && len(p) > 0 && p[0] == '#' {
		d.pages = &pages{}
	}
	if d.pages != nil {
		d.pages.Write(p)
	}
	d.size += int64(len(p))
	if room := d.keep - len(d.kept); room > 0 {
		if need := len(d.kept) + min(room, len(p)); need > cap(d.kept) {
			// Double the capacity: append grows in smaller steps, leaves more garbage, and exceeds keep.
			before := cap(d.kept)
			d.kept = append(make([]byte, 0, min(max(need, 2*before), d.keep)), d.kept...)
			if d.memory != nil {
				d.memory.grow(cap(d.kept) - before)
			}
		}
		d.kept = append(d.kept, p[:min(room, len(p))]...)
	}
	for t, h := range d.hashes {
		if h != nil && macho.HashType(t) != macho.SHA256Truncated {
			h.Write(p)
		}
	}
	return len(p), nil
}

func (d *FileDigest) equals(s macho.SpecialSlot) bool {
	return bytes.Equal(d.hashes[s.HashType].Sum(nil)[:len(s.Digest)], s.Digest)
}

// IsSealedFile reports whether the main executable of a bundle may seal a file with this base name directly.
func IsSealedFile[T string | []byte](name T) bool {
	return string(name) == infoPlistName || string(name) == codeResourcesName || isDirectoryFile(name)
}

// Reach announces the depth of the next file or directory. It completes the bundles that cannot contain it. Reach(0)
// completes all bundles.
func (c *Checker) Reach(depth int) {
	c.memory.share.pool = c.Pool
	for len(c.open) > 0 && c.open[len(c.open)-1].depth >= depth { // enclose and lift may open more
		n := len(c.open)
		last := c.open[n-1]
		c.open[n-1] = nil
		c.open = c.open[:n-1]
		if c.lift(last) {
			last.releaseAll(c)
			continue
		}
		c.waiting -= len(last.slices)
		for i := range last.slices {
			w := &last.slices[i]
			c.stale -= staleSlots(&w.slice)
			c.reports -= w.memory
		}
		c.setNames(last)
		c.reseal(last)
		last.compare(c)
		c.enclose(last)
		last.releaseAll(c)
		c.memory.working(0)
	}
	c.leave(depth)
}

// AddFile adds the digest of the file at path. IsSealedFile must be true for the file's name.
func (c *Checker) AddFile(depth int, path func() string, d *FileDigest) {
	if depth > maxFileDepth {
		c.read(d)
		c.detachedTooDeep(path)
		return
	}
	c.keep(d)
	d.users++
	defer c.release(d)
	dir, name := splitPath(path())
	parent, nested := strings.CutSuffix(dir, codeResourcesDir)
	switch {
	case name == codeResourcesName && nested:
		if b := c.at(parent); b != nil {
			c.release(b.codeResources)
			b.codeResources, b.listContents = d, c.given
			d.users++
		}
	case isDirectoryFile(name) && nested:
		if b := c.at(parent); b != nil {
			b.detached = append(b.detached, detachedFile{name, d})
			d.users++
		} else {
			c.detachedTooDeep(path)
		}
	case name == infoPlistName:
		c.readExecutable(d)
		if b := c.at(dir); b != nil {
			c.release(b.infoPlist)
			b.infoPlist = d
			d.users++
		}
		if parent, ok := strings.CutSuffix(dir, resourcesDir); ok {
			if b := c.at(parent); b != nil {
				c.release(b.inResources)
				b.inResources = d
				d.users++
			}
		}
	}
}

// AddSlice adds a slice of the image at path and calls then with it once: immediately if it seals no file of a bundle,
// otherwise when its bundle is complete. If files of the bundle differ from those that the slice seals, its status
// becomes macho.StatusBundle, unless it is already worse. The slice is then Touched if one of these files is. A missing
// file is not a problem.
func (c *Checker) AddSlice(depth int, path func() string, s macho.Slice, then func(macho.Slice)) {
	c.addCode(&s)
	var b *openBundle
	var image string
	if len(s.External) > 0 && depth <= maxFileDepth {
		image = path()
		dir, _ := splitPath(image)
		if root, ok := strings.CutSuffix(dir, executablesDir); ok && strings.HasSuffix(root, contentsDir) {
			dir = root
		}
		b = c.at(dir)
	}
	memory := waitingMemory(&s, image)
	switch {
	case b == nil:
		if c.CheckResources && sealsResources(&s) {
			mark(&s, "not checked: "+tooDeep, c.Reseal != nil)
		}
		then(s)
	case c.waiting == maxWaiting || c.stale+staleSlots(&s) > maxStale || c.reports+memory > maxWaitingMemory:
		mark(&s, "too many executables to compare with the files of their bundle", c.Reseal != nil)
		then(s)
	default:
		c.waiting++
		c.stale += staleSlots(&s)
		c.reports += memory
		if c.given != nil {
			b.given++
		}
		b.slices = append(b.slices, waitingSlice{
			slice: s, then: then, path: image, memory: memory, file: len(c.tree.files), contents: c.given,
		})
	}
}

// at returns the bundle with this root, which contains the current file, or nil if it is too deep.
func (c *Checker) at(root string) *openBundle {
	depth := strings.Count(root, "/")
	if depth > maxDepth {
		return nil
	}
	i, ok := slices.BinarySearchFunc(c.open, depth, func(b *openBundle, depth int) int { return b.depth - depth })
	if !ok {
		c.open = slices.Insert(c.open, i, &openBundle{root: root, depth: depth})
	}
	return c.open[i]
}

// compare compares the slices of a complete bundle with its files.
func (b *openBundle) compare(c *Checker) {
	for _, w := range b.byHashTypes() {
		b.compareSlice(c, w)
	}
	for i := range b.slices {
		b.slices[i].then(b.slices[i].slice)
	}
	b.compareScript(c)
	b.compareElsewhere(c)
	b.compareBeside(c)
}

// name adds files to the report's list of files that do not match.
func (b *openBundle) name(s *macho.Slice, r ...macho.Resource) {
	if s.Bundle == nil {
		s.Bundle = &macho.SealedBundle{Path: cmp.Or(b.root, "/")}
	}
	s.Bundle.Resources = append(s.Bundle.Resources, r...)
}

// mark sets the status of a slice whose seal does not match the files.
func mark(s *macho.Slice, why string, touched bool) {
	why = "bundle: " + why
	if s.Status.OK() {
		s.Status, s.Reason = macho.StatusBundle, why
	} else {
		s.Reason += "; " + why
	}
	s.Touched = s.Touched || touched
}

// staleSlots returns the number of stale slots in a slice's report.
func staleSlots(s *macho.Slice) int {
	n := 0
	for _, d := range s.CodeDirectories {
		n += len(d.Stale) + len(d.StaleSpecial)
	}
	return n
}

func splitPath(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
}
