package scan

import (
	"io"
	"io/fs"
	"path/filepath"

	"narseal/macho/bundle"
	"narseal/macho/bundle/resources"
	"narseal/nar"
)

// base returns the last name in the path. Unlike Name, it is also set for the directory where the walk began.
func (e *Entry) base() string {
	if e.Dir != nil {
		return e.Name
	}
	return rootName(e.root.String())
}

// rootName returns the last name of the path of a directory, even if the path is ".".
func rootName(path string) string {
	if name := filepath.Base(path); name != "." && name != ".." && name != "/" {
		return name
	}
	path, _ = filepath.Abs(path)
	return filepath.Base(path)
}

// shownPath returns the path of inner, which is relative to root, as the user would write it.
func shownPath(root, inner string) nar.Path { return nar.NewPath(filepath.Join(root, inner)) }

// isSealed reports whether a bundle may seal the file, so that it must be hashed.
func (r *Result) isSealed() bool {
	return r.inBundle || bundle.IsSealedFile(r.Name) && r.Depth() > 0
}

// hash sets the digest of the file.
func (s *Scanner) hash(r *Result, f *File) error {
	inTurn := r.late
	if r.late = !r.late && r.waits(f); r.late {
		return nil
	}
	kept := bundle.IsSealedFile(r.Name) // its contents are kept; these files are small
	if known := s.links.find(f).digest; known != nil && !kept {
		r.digest, r.Inode = known, f.Inode
		return nil
	}
	if err := s.sparse.check(f); err != nil {
		return err
	}
	if kept {
		if err := s.relinked.take(f); err != nil {
			return err
		}
	}
	digest := bundle.NewItemDigest(r.Name)
	if inTurn {
		s.bundles.Count(digest)
	}
	_, err := io.Copy(digest, io.NewSectionReader(f, 0, f.Size()))
	if err == nil {
		err = f.Unchanged()
	}
	if err != nil {
		if inTurn {
			s.bundles.Drop(digest)
		}
		return f.Wrap(err)
	}
	r.digest, r.Inode = digest, f.Inode
	if !kept {
		s.relinked.allow(f)
		s.links.note(f, nil, digest)
	}
	return nil
}

// reach tells the Checker the depth of the next name.
func (s *Scanner) reach(depth int) {
	s.bundles.Reach(depth)
	if s.bundles.Reseal == nil {
		return
	}
	if err := s.bundles.Err(); err != nil {
		s.Fail(err)
	}
	s.Settled(s.bundles.Holds(0))
}

// give passes the contents of a file that may have to change to the Checker.
func (s *Scanner) give(r *Result) {
	if s.Reseal == nil || !r.inBundle || r.digest == nil {
		return
	}
	if r.Report != nil && s.Reseal.Wants(r.Report.Slices) || r.Name == "CodeResources" && s.bundles.WantsList(r.inner()) {
		s.bundles.Give(s.Member(r))
	}
}

// largeKept is a size in bytes. A larger file whose contents are kept is read only when its turn comes, since many
// results may be waiting at the same time.
const largeKept = 64 << 10

// waits reports whether the file is read only when its turn comes.
func (r *Result) waits(f *File) bool { return bundle.IsSealedFile(r.Name) && f.Size() > largeKept }

// hashLate hashes a file that waited for its turn.
func (s *Scanner) hashLate(r *Result) error {
	f, err := r.Open()
	if err != nil {
		return err
	}
	defer f.Close()
	return s.hash(r, f)
}

// item returns the result in the form of the Checker.
func (r *Result) item() bundle.Item {
	it := bundle.Item{Name: r.base(), Digest: r.digest}
	switch r.Type.Type() {
	case fs.ModeDir:
		it.Kind = resources.Directory
	case fs.ModeSymlink:
		it.Kind = resources.Symlink
		it.Link, _ = r.Readlink() // an empty target matches nothing
	}
	return it
}
