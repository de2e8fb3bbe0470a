package macho

import (
	"bytes"
	"hash"
	"slices"
	"strings"
)

// A bundle's main executable seals two files beside it: its special slot -1 is
// the hash of the bundle's Info.plist, and -3 that of its list of resources,
// _CodeSignature/CodeResources (BundleDiskRep in Security.framework's
// bundlediskrep.cpp). ROOT is where a Bundles looks for them:
//
//	                    executable      Info.plist            CodeResources
//	application, …      ROOT/MacOS/X    ROOT/Info.plist       ROOT/_CodeSignature/CodeResources
//	framework           ROOT/X          ROOT/Resources/…      same
//	flat (iOS)          ROOT/X          ROOT/Info.plist       same
//
// where ROOT of the first is named Contents, and that of a framework is as a
// rule a version's folder.
const (
	infoPlistName     = "Info.plist"
	codeResourcesName = "CodeResources"
	codeResourcesDir  = "/_CodeSignature"
	resourcesDir      = "/Resources"
	contentsDir       = "/Contents"
	executablesDir    = "/MacOS"
)

const (
	// maxBundleDepth is how deep a bundle that is looked at may lie: what Nix
	// allows of an archive, and far more than bundles need.
	maxBundleDepth = 64
	// maxSealed bounds the slices that wait for the end of their bundle.
	maxSealed = 4096
)

// Bundles compares main executables with the files of their bundle, as the
// files of a tree go by in depth-first order, such as an archive's. It holds
// digests and reports alone, and no more than fit into a few megabytes.
//
// Paths are slash-separated, from the tree's root, which is "/".
type Bundles struct {
	open   []*bundle // around the current file, the outermost first
	sealed int       // slices that wait, in all of them
}

// bundle is a folder that may be the ROOT of a bundle.
type bundle struct {
	root   string
	depth  int // folders from the tree's root
	info   []*FileDigest
	seal   *FileDigest
	slices []sealedSlice
}

type sealedSlice struct {
	slice Slice
	then  func(Slice)
}

// A FileDigest is computed over what is written to it, with every hash that a
// CodeDirectory may use.
type FileDigest struct {
	// Touched marks a file that the caller changed.
	Touched bool

	hashes [SHA512 + 1]hash.Hash
}

// NewFileDigest returns the digest of an empty file.
func NewFileDigest() *FileDigest {
	d := &FileDigest{}
	for _, t := range []HashType{SHA1, SHA256, SHA384, SHA512} {
		d.hashes[t] = t.new()
	}
	d.hashes[SHA256Truncated] = d.hashes[SHA256]
	return d
}

// Write adds p to the file, and never fails.
func (d *FileDigest) Write(p []byte) (int, error) {
	for t, h := range d.hashes {
		if h != nil && HashType(t) != SHA256Truncated {
			h.Write(p)
		}
	}
	return len(p), nil
}

func (d *FileDigest) equals(s specialDigest) bool {
	return bytes.Equal(d.hashes[s.hashType].Sum(nil)[:len(s.digest)], s.digest)
}

// IsBundleFile tells whether a file of this name, without folders, may be one
// that a bundle's executable seals.
func IsBundleFile[T string | []byte](name T) bool {
	return string(name) == infoPlistName || string(name) == codeResourcesName
}

// Reach says that a file or folder with this many folders around it comes
// next: the bundles that it lies outside of are complete. With 0 all are.
func (b *Bundles) Reach(depth int) {
	for n := len(b.open); n > 0 && b.open[n-1].depth >= depth; n-- {
		last := b.open[n-1]
		b.open = b.open[:n-1]
		b.sealed -= len(last.slices)
		last.settle()
	}
}

// AddFile gives the digest of the file at path, for which IsBundleFile holds.
func (b *Bundles) AddFile(path string, d *FileDigest) {
	dir, name := splitPath(path)
	parent, nested := strings.CutSuffix(dir, codeResourcesDir)
	switch {
	case name == codeResourcesName && nested:
		if u := b.at(parent); u != nil {
			u.seal = d
		}
	case name == infoPlistName:
		if u := b.at(dir); u != nil {
			u.info = append(u.info, d)
		}
		if parent, ok := strings.CutSuffix(dir, resourcesDir); ok {
			if u := b.at(parent); u != nil {
				u.info = append(u.info, d)
			}
		}
	}
}

// AddSlice calls then once with the slice of the image at path: at once where
// it seals no file of a bundle, else when its bundle is complete. A slice that
// seals another file than is there has become StatusBundle, if nothing worse,
// and Touched if that file is; a file that is not there is not missed.
func (b *Bundles) AddSlice(path string, s Slice, then func(Slice)) {
	var u *bundle
	if len(s.special) > 0 {
		dir, _ := splitPath(path)
		if root, ok := strings.CutSuffix(dir, executablesDir); ok && strings.HasSuffix(root, contentsDir) {
			dir = root
		}
		u = b.at(dir)
	}
	switch {
	case u == nil:
		then(s)
	case b.sealed == maxSealed:
		s.breakBundle("too many executables to compare with the files of their bundle", false)
		then(s)
	default:
		b.sealed++
		u.slices = append(u.slices, sealedSlice{s, then})
	}
}

// at returns the bundle with this root, which the current file lies in.
func (b *Bundles) at(root string) *bundle {
	depth := strings.Count(root, "/")
	if depth > maxBundleDepth {
		return nil
	}
	i, ok := slices.BinarySearchFunc(b.open, depth, func(u *bundle, depth int) int { return u.depth - depth })
	if !ok {
		b.open = slices.Insert(b.open, i, &bundle{root: root, depth: depth})
	}
	return b.open[i]
}

// settle compares the slices with the files, all of which went by.
func (u *bundle) settle() {
	for _, w := range u.slices {
		for _, stored := range w.slice.special {
			files, name := u.info, infoPlistName
			if stored.k == slotResources {
				files, name = nil, codeResourcesName
				if u.seal != nil {
					files = []*FileDigest{u.seal}
				}
			}
			match := func(d *FileDigest) bool { return d.equals(stored) }
			if len(files) == 0 || slices.ContainsFunc(files, match) {
				continue
			}
			touched := slices.ContainsFunc(files, func(d *FileDigest) bool { return d.Touched })
			w.slice.breakBundle("the bundle's "+name+" is not the one that was signed", touched)
			break
		}
		w.then(w.slice)
	}
}

// breakBundle notes that the bundle's files are not those that s seals.
func (s *Slice) breakBundle(why string, touched bool) {
	why = "bundle: " + why
	if s.Status.Holds() {
		s.Status, s.Reason = StatusBundle, why
	} else {
		s.Reason += "; " + why
	}
	s.Touched = s.Touched || touched
}

func splitPath(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
}
