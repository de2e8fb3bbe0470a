package bundle

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"narseal/macho"
	"narseal/macho/bundle/resources"
	"narseal/macho/internal/codedir"
)

// The architectures that are reported for bundles whose signatures are in files: the main executable is a script, or
// there is none.
const (
	archScript = "script"
	archNone   = "none"
)

// detachedFile is a file that may contain a CodeDirectory.
type detachedFile struct {
	name   string
	digest *FileDigest
}

// script is the comparison of a bundle whose signature is in files.
type script struct {
	*openBundle
	c       *Checker
	slice   macho.Slice
	main    string // path of the main executable, relative to the base
	at      int    // its index in the tree's files, or -1
	digest  *FileDigest
	files   map[string]*resources.File // in _CodeSignature
	touched bool
}

// compareScript compares a bundle with its signature, if that is in files, and passes the result to c.Script.
func (b *openBundle) compareScript(c *Checker) {
	if len(b.detached) == 0 || !c.CheckResources {
		return
	}
	s := &script{openBundle: b, c: c, at: -1, files: map[string]*resources.File{}}
	s.slice = macho.Slice{Arch: archNone, Status: macho.StatusValid, Signature: "adhoc"}
	s.find()
	if s.at >= 0 && len(c.tree.files[s.at].Code) > 0 {
		return // an image: it has a signature of its own
	}
	b.scripted = true
	s.compare()
	if c.Script != nil {
		s.slice.Touched = s.slice.Touched || s.touched && !s.slice.Status.OK()
		path := s.main
		if s.at < 0 {
			path = signaturePath(directoryName)
		}
		c.Script(b.root+"/"+path, s.slice)
	}
}

// find finds the main executable and the files of the signature.
func (s *script) find() {
	t := &s.c.tree
	name, _, _ := s.executableName(s.c)
	s.main = cmp.Or(name, "?")
	if !s.inScope(t) {
		return
	}
	name, inMacOS := s.spelled(s.c, name), s.spelled(s.c, executablesDir[1:]+"/"+name)
	s.main = cmp.Or(name, "?")
	from, cut := t.from(s.depth)
	found := map[string]int{}
	for i := from; i < len(t.files); i++ {
		f := &t.files[i]
		path := f.Path[cut:]
		if file, ok := strings.CutPrefix(path, signaturePath("")); ok {
			s.files[file] = f
			s.touched = s.touched || f.Touched
		}
		if f.Kind == resources.Regular && (path == name || path == inMacOS) {
			found[path] = i
		}
	}
	if strings.HasSuffix(s.root, contentsDir) {
		s.main = inMacOS
	} else if _, ok := found[inMacOS]; ok && s.root == "" {
		s.main, s.mainInMacOS = inMacOS, true
	}
	i, ok := found[s.main]
	if !ok {
		s.nominal()
		return
	}
	s.at, s.digest, s.slice.Arch = i, t.scripts[t.files[i].Path], archScript
	s.touched = s.touched || t.files[i].Touched
}

// nominal uses the Info.plist as the main executable, as Security.framework does for a bundle that has none.
func (s *script) nominal() {
	d, path := s.info(s.c)
	if d == nil || s.isAmbiguous(s.c) {
		return
	}
	s.touched = s.touched || d.Touched
	if int64(len(d.kept)) == d.size {
		s.digest = d
	}
	t := &s.c.tree
	from, cut := t.from(s.depth)
	for i := from; i < len(t.files); i++ {
		if t.files[i].Path[cut:] == path {
			s.at, s.main = i, path
		}
	}
}

// problem records a file that does not match.
func (s *script) problem(file, problem string) {
	r := macho.Resource{Path: file, Problem: problem}
	if s.slice.Bundle == nil {
		mark(&s.slice, file+": "+problem, false)
	} else if slices.Contains(s.slice.Bundle.Resources, r) {
		return // another CodeDirectory has the same problem
	}
	s.name(&s.slice, r)
}

func (s *script) compare() {
	t := &s.c.tree
	if d, _ := s.info(s.c); d == nil {
		s.problem(infoPlistName, "missing")
		return // it names the main executable
	}
	if why := s.unchecked(); why != "" {
		s.touched = s.touched || s.c.Reseal != nil && (t.touched || s.c.Touched && !s.inScope(t))
		s.problem(signaturePath(directoryName), "not checked: "+why)
		return
	}
	if f := s.files[signatureFile]; f != nil && (f.Sums == nil || *f.Sums != *emptySums) {
		s.slice.Signature = "cms"
	}
	var all []*codedir.Directory
	for _, file := range s.detached {
		path := signaturePath(file.name)
		if int64(len(file.digest.kept)) != file.digest.size {
			s.problem(path, "not checked: it is too large")
			continue
		}
		d, err := codedir.Parse(slotOfFile(file.name), file.digest.kept)
		if err != nil {
			s.problem(path, err.Error())
			continue
		}
		if slices.ContainsFunc(all, func(o *codedir.Directory) bool { return o.HashType == d.HashType }) {
			s.problem(path, "a second CodeDirectory of hash type "+d.HashType.String())
		}
		all = append(all, d)
		s.compareDirectory(d)
		s.slice.CodeDirectories = append(s.slice.CodeDirectories, d.CodeDirectory)
	}
	if s.detached[0].name != directoryName {
		s.problem(signaturePath(directoryName), "missing")
	}
	s.compareFiles(all)
	name, _, why := s.executableName(s.c)
	if why != "" && s.slice.Bundle == nil {
		s.problem(infoPlistName, "not checked: "+why)
	}
	if _, why = s.form(s.c); why == "" && s.at >= 0 {
		why = s.executables(s.c, s.main, name)
	}
	if why != "" {
		s.problem(codeResourcesPath, "not checked: "+why)
	}
	if s.at >= 0 {
		t.files[s.at].Code = []resources.Code{codeOf(&s.slice)}
	}
}

// unchecked returns the reason why the bundle cannot be compared.
func (s *script) unchecked() string {
	switch {
	case !s.inScope(&s.c.tree):
		return "no directory around it has the name of a bundle"
	case s.c.tree.full != "":
		return s.c.tree.full
	}
	return ""
}

// compareDirectory compares the main executable, and the files that special slots hash, with a CodeDirectory.
func (s *script) compareDirectory(d *codedir.Directory) {
	switch {
	case s.at < 0:
		s.problem(s.main, "missing")
	case s.digest == nil:
		s.problem(s.main, "not checked: it is no script, or too large")
	case s.digest.size != d.Limit:
		s.problem(s.main, fmt.Sprintf("changed: it has %d bytes, %d are signed", s.digest.size, d.Limit))
	default:
		p := s.digest.pages
		if p == nil {
			p = pagesOf(s.digest.kept)
		}
		if d.PageSize > 0 && len(p.sums) != d.Slots*pageSums[3] {
			s.problem(s.main, "not checked: it is too large")
		} else if d.Stale = p.stale(d, s.digest); len(d.Stale) > 0 {
			s.problem(s.main, "changed")
		}
	}
	for _, stored := range d.Special {
		name, known := slotFiles[stored.K]
		path := signaturePath(name)
		f := s.files[name]
		switch {
		case stored.K == 1 || stored.K == slotResources:
			s.slice.External = append(s.slice.External, stored)
			continue
		case !known:
			s.problem(signaturePath(directoryName), fmt.Sprintf("not checked: special slot -%d", stored.K))
		case f == nil:
			s.problem(path, "missing")
		case f.Sums == nil || !f.Sums.Equal(stored.HashType, stored.Digest):
			s.problem(path, "changed")
		default:
			continue
		}
		d.StaleSpecial = append(d.StaleSpecial, stored.K)
	}
}

// compareFiles compares Info.plist, the list and the files that it seals, and reports files that nothing hashes.
func (s *script) compareFiles(all []*codedir.Directory) {
	for _, k := range slices.Sorted(maps.Keys(slotFiles)) {
		name := slotFiles[k]
		hashed := slices.ContainsFunc(all, func(d *codedir.Directory) bool { return d.Present[k] })
		if s.files[name] != nil && !hashed && len(all) > 0 {
			s.problem(signaturePath(name), "added")
		}
	}
	w := &waitingSlice{slice: s.slice, path: s.root + "/" + s.main}
	s.compareStored(s.c, w)
	if sealsResources(&w.slice) {
		s.compareResources(s.c, w)
	}
	s.slice = w.slice
	if sealsResources(&s.slice) && !sealsWithBest(&s.slice) {
		s.problem(signaturePath(directoryName), "the CodeDirectory that counts does not seal the list of resources")
	}
	if !sealsResources(&s.slice) && s.codeResources != nil && len(all) > 0 {
		s.problem(codeResourcesPath, "added")
	}
}

// signaturePath returns the path of a file in _CodeSignature, relative to the base.
func signaturePath(name string) string { return codeResourcesDir[1:] + "/" + name }

var emptySums = NewItemDigest("").sums()
