package bundle

import (
	"bytes"
	"errors"
	"io"
	"slices"

	"narseal/macho/bundle/resources"
)

var errWritten = errors.New("the list of resources differs from what was written")

// list returns the changed list, or nil if it does not change, and its digest, or nil if the slots for it do not
// change.
func (r *resealer) list(main *waitingSlice) ([]byte, *FileDigest) {
	d := r.b.codeResources
	if d == nil || int64(len(d.kept)) != d.size {
		return nil, nil // the comparison reports it
	}
	files := r.tree.in(r.b.depth)
	r.memory.working(len(d.kept) + listMemory(len(d.kept)))
	data := bytes.Clone(d.kept)
	nested := &mains{files: files}
	u := &resources.Update{
		Files: files, All: r.Reseal.All, Resumed: r.Reseal.Resumed, Nested: func(i int) *resources.File { return nested.at(i).file },
	}
	changed, err := u.Apply(data)
	if err != nil {
		r.b.refused = "its list of resources cannot be changed: " + err.Error()
		return nil, nil
	}
	if r.updated = len(changed); r.updated == 0 {
		if d.Touched || r.Reseal.All {
			return nil, d
		}
		return nil, nil
	}
	if r.Reseal.All && !d.Touched && !r.isNeeded(changed, nested, main) {
		r.updated = 0
		return nil, d
	}
	// Do not change a list that could not be compared afterwards. The comparison says why.
	r.b.list, err = resources.Parse(data)
	if err != nil || r.cost+r.b.list.Cost(files) > costInAll+r.allowed {
		r.b.list = nil
		return nil, nil
	}
	if r.b.listContents == nil {
		r.b.list = nil
		r.b.refused = "its list of resources came before anything said that it may have to be changed"
		return nil, nil
	}
	digest := NewItemDigest(codeResourcesName)
	digest.keep = 0
	digest.Write(data)
	digest.kept, digest.Touched = data, true
	return data, digest
}

// isNeeded reports whether a change repairs a problem that a comparison with the present list finds, or is for a file
// that the caller has changed. A valid bundle is not sealed again only to change entries that nothing reads, because
// its executable may be signed by a certificate.
func (r *resealer) isNeeded(changed map[string]bool, nested *mains, main *waitingSlice) bool {
	files, read := nested.files, false
	for i := range files {
		is, ok := changed[files[i].Path]
		if read = read || is; ok && files[i].Touched {
			return true
		}
	}
	if !read {
		return false
	}
	list, err := resources.Parse(r.b.codeResources.kept)
	if err != nil {
		return true // the changed list cannot be parsed, either
	}
	if r.cost += list.Cost(files); r.cost > costInAll+r.allowed {
		return true // nor can it be compared
	}
	problems := list.Check(&resources.Bundle{
		Executable: r.b.excluded(r.Checker, r.b.executable(main)), HashTypes: r.b.hashTypes(main), Files: files,
		Nested: nested.code,
	})
	return len(problems) > resources.MaxProblems || slices.ContainsFunc(problems, func(p resources.Problem) bool {
		return changed[p.Path] && resources.CanUpdate(p.Problem)
	})
}

// writeList writes the changed part of the list.
func (r *resealer) writeList(data []byte, digest *FileDigest) error {
	old := r.b.codeResources
	first, last := 0, len(data)
	for first < last && data[first] == old.kept[first] {
		first++
	}
	for last > first && data[last-1] == old.kept[last-1] {
		last--
	}
	if _, err := r.b.listContents.WriteAt(data[first:last], int64(first)); err != nil {
		return err
	}
	written, err := r.readList(data)
	if err != nil {
		return err
	}
	digest.charged, digest.users, old.charged = old.charged, old.users, 0
	r.b.codeResources = digest
	for i := range r.files {
		if f := &r.files[i]; f.Path[r.cut:] == codeResourcesPath {
			f.Sums, f.Touched = written.sums(), true
		}
	}
	return nil
}

// readList reads the list back and returns its digest, with which this bundle and outer bundles are compared.
func (r *resealer) readList(want []byte) (*FileDigest, error) {
	in := io.NewSectionReader(r.b.listContents, 0, r.b.listContents.Size())
	digest := NewItemDigest("")
	buf := make([]byte, 32<<10)
	for {
		n, err := in.Read(buf)
		if n > len(want) || !bytes.Equal(buf[:n], want[:n]) {
			return nil, errWritten
		}
		digest.Write(buf[:n])
		want = want[n:]
		switch {
		case err == io.EOF && len(want) > 0:
			return nil, errWritten
		case err == io.EOF:
			return digest, nil
		case err != nil:
			return nil, err
		}
	}
}
