package bundle

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"narseal/macho"
	"narseal/macho/bundle/resources"
)

// Reseal makes a Checker repair the seals of bundles before it compares them.
//
// A bundle is sealed again when it is complete, inner bundles first. The Checker changes digests in its CodeResources,
// and then the special slots -1 and -3 of its main executable. No length changes. The Checker reads and writes both
// through the Images that were passed to Checker.Give. If the bundle then matches, the status of its slice is
// macho.StatusRepaired. Otherwise, the slice has the same status as without Reseal, and is Touched.
//
// Added files, removed files and changed symlinks are only reported. A bundle is not changed if it is signed by a
// certificate (but see OnCMS), exceeds a limit, or has a list that cannot be changed in place. The slice's Reason then
// says so.
type Reseal struct {
	// All repairs everything that does not match. Otherwise only mismatches of Touched files are repaired.
	All bool
	// Resumed has the same meaning as for resources.Update.
	Resumed bool
	// OnCMS is the policy for executables that are signed by a certificate.
	OnCMS macho.CMSPolicy
	Jobs  int // goroutines that hash; 0: GOMAXPROCS
}

// Give passes the contents of the next file to the Checker, so that it can change them. Call it before AddSlice or
// AddFile and AddItem for that file. The contents must be complete. The Checker reads and writes them during the call
// of Reach that completes their bundle. It changes no other file.
func (c *Checker) Give(contents macho.Image) { c.given = contents }

// Holds reports whether contents that were passed to Give may still change, because their bundle is not complete. It
// considers the bundles that Reach(depth) would complete: all bundles if depth is 0.
func (c *Checker) Holds(depth int) bool {
	return slices.ContainsFunc(c.open, func(b *openBundle) bool {
		if b.depth < depth {
			return false
		}
		return b.listContents != nil || b.given > 0
	})
}

// WantsList reports whether the CodeResources at path may have to be changed, judging by the files before it.
func (c *Checker) WantsList(path string) bool {
	if c.Reseal == nil || !c.tree.inside {
		return false
	}
	dir, name := splitPath(path)
	parent, ok := strings.CutSuffix(dir, codeResourcesDir)
	if !ok || name != codeResourcesName {
		return false
	}
	b := c.at(parent)
	return b != nil && (len(b.slices) == 0 || b.given > 0)
}

// Wants reports whether the executable of these slices may have to be changed.
func (r *Reseal) Wants(all []macho.Slice) bool {
	return slices.ContainsFunc(all, func(s macho.Slice) bool {
		return len(s.External) > 0 && (s.Signature != "cms" || r.OnCMS == macho.CMSAdhoc)
	})
}

// CanReseal reports whether repairing the seal would make a slice valid, judging by its report.
func CanReseal(s *macho.Slice) bool {
	if s.Status != macho.StatusBundle || s.Bundle == nil || s.Signature == "cms" || s.Arch == archScript || s.Arch == archNone {
		return false
	}
	return !slices.ContainsFunc(s.Bundle.Resources, func(r macho.Resource) bool {
		return !resources.CanUpdate(r.Problem)
	})
}

// Err returns and clears the first error of reading or writing contents that were passed to Give. After such an error,
// no seal is repaired until Err is called.
func (c *Checker) Err() error {
	err := c.err
	c.err = nil
	return err
}

// reseal repairs the seal of a complete bundle. If it cannot, it sets b.refused to the reason.
func (c *Checker) reseal(b *openBundle) {
	if c.Reseal == nil || c.err != nil || len(b.slices) == 0 || !b.inScope(&c.tree) || c.tree.full != "" {
		return
	}
	from, cut := c.tree.from(b.depth)
	r := &resealer{Checker: c, b: b, files: c.tree.files[from:], from: from, cut: cut}
	touched := slices.ContainsFunc(r.files, func(f resources.File) bool { return f.Touched })
	if !touched && !c.Reseal.All {
		return
	}
	if err := r.run(); err != nil {
		c.err = fmt.Errorf("seal of the bundle %q: %w", cmp.Or(b.root, "/"), err)
	}
}

// resealer reseals one bundle.
type resealer struct {
	*Checker
	b         *openBundle
	files     []resources.File // files in the bundle, with paths as in the tree
	from, cut int              // results of tree.from
	updated   int              // number of updated entries in the list
}

// executables returns the slices that seal a file, grouped by executable.
func (r *resealer) executables() [][]*waitingSlice {
	var all [][]*waitingSlice
	for i := range r.b.slices {
		w := &r.b.slices[i]
		if len(w.slice.External) == 0 || w.above && !r.b.isContents(r.Checker, w) {
			continue
		}
		if n := len(all); n > 0 && all[n-1][0].file == w.file {
			all[n-1] = append(all[n-1], w)
		} else {
			all = append(all, []*waitingSlice{w})
		}
	}
	return all
}

func (r *resealer) run() error {
	var main []*waitingSlice
	for _, e := range r.executables() {
		if !slices.ContainsFunc(e, func(w *waitingSlice) bool { return sealsResources(&w.slice) }) {
			// It seals only the Info.plist, and the list may seal the executable.
			if err := r.seal(e, r.infoPlist(e)); err != nil || r.b.refused != "" {
				return err
			}
			continue
		}
		if main != nil {
			r.b.refused = "several executables seal its files"
			return nil
		}
		main = e
	}
	if main == nil {
		return nil
	}
	if main[0].contents == nil {
		r.b.refused = "its executable is signed by a certificate"
		return nil
	}
	data, digest := r.list(main[0])
	if r.b.refused != "" {
		return nil
	}
	slots := r.infoPlist(main)
	if digest != nil {
		slots = append(slots, digest.slots(slotResources)...)
	}
	if err := r.seal(main, slots); err != nil || r.b.refused != "" || data == nil {
		r.b.list = nil // the list was parsed from data, which is not written
		return err
	}
	return r.writeList(data, digest)
}

// infoPlist returns the slots for the Info.plist that an executable seals, or none if they must not change.
func (r *resealer) infoPlist(executable []*waitingSlice) []macho.SpecialSlot {
	matches := func(d *FileDigest) bool {
		return slices.ContainsFunc(executable, func(w *waitingSlice) bool {
			return slices.ContainsFunc(w.slice.External, func(s macho.SpecialSlot) bool { return s.K == slotInfoPlist && d.equals(s) })
		})
	}
	d, _ := r.b.info(r.Checker)
	// A bundle whose form was changed has two Info.plists, and the sealed one is no longer used.
	if d == nil || r.b.isAmbiguous(r.Checker) && !matches(d) || !r.Reseal.All && !d.Touched {
		return nil
	}
	return d.slots(slotInfoPlist)
}

// truncatedSize is the length of a digest of macho.SHA256Truncated.
const truncatedSize = 20

// slots returns the special slot -k that hashes a file, for every hash type.
func (d *FileDigest) slots(k int) []macho.SpecialSlot {
	var all []macho.SpecialSlot
	for t := macho.SHA1; t <= macho.SHA512; t++ {
		if d.hashes[t] != nil {
			sum := d.hashes[t].Sum(nil)
			if t == macho.SHA256Truncated {
				sum = sum[:truncatedSize]
			}
			all = append(all, macho.SpecialSlot{K: k, HashType: t, Digest: sum})
		}
	}
	return all
}

// seal sets the slots of an executable: those of all slices, or none.
func (r *resealer) seal(executable []*waitingSlice, slots []macho.SpecialSlot) error {
	first := executable[0]
	if len(slots) == 0 {
		return nil
	}
	if first.contents == nil {
		r.b.refused = "its executable is signed by a certificate"
		return nil
	}
	config := macho.Config{Jobs: r.Reseal.Jobs, OnCMS: r.Reseal.OnCMS}
	before, err := config.RepairTouched(first.contents, nil)
	if err != nil {
		return err
	}
	now, err := config.Seal(first.contents, slots)
	if err != nil {
		return err
	}
	for i := range now.Slices {
		if s := &now.Slices[i]; !holds(s, slots) {
			r.b.refused = fmt.Sprintf("its executable is %s: %s", s.Status, s.Reason)
			return nil
		}
	}
	if err := now.Identify(first.contents); err != nil {
		return err
	}
	now.Was(before)
	changed := false
	for _, w := range executable {
		i := slices.IndexFunc(now.Slices, func(s macho.Slice) bool { return s.Offset == w.slice.Offset })
		if i >= 0 && !holds(&w.slice, slots) {
			changed = true
			w.sealedAgain(&now.Slices[i], r.updated)
		}
	}
	if !changed || first.file >= len(r.tree.files) {
		return nil
	}
	f := &r.tree.files[first.file]
	f.Touched = true
	setCode(f, now)
	return r.hashAgain(f, first.contents)
}

// holds reports whether the slots of a slice already have these digests.
func holds(s *macho.Slice, slots []macho.SpecialSlot) bool {
	for _, stored := range s.External {
		for _, want := range slots {
			if want.K == stored.K && want.HashType == stored.HashType && !bytes.Equal(want.Digest, stored.Digest) {
				return false
			}
		}
	}
	return true
}

// sealedAgain updates the state of a slice whose slots changed.
func (w *waitingSlice) sealedAgain(now *macho.Slice, updated int) {
	s := &w.slice
	s.External, s.Signature, s.Touched = now.External, now.Signature, true
	s.MadeAdhoc = s.MadeAdhoc || now.MadeAdhoc
	for i := range min(len(s.CodeDirectories), len(now.CodeDirectories)) {
		s.CodeDirectories[i].CDHash = now.CodeDirectories[i].CDHash
	}
	if !s.Status.OK() {
		return
	}
	why := "the seal of its bundle was repaired"
	if updated > 0 {
		why += fmt.Sprintf(": %d of the sealed files", updated)
	}
	if s.Reason != "" {
		why = s.Reason + "; " + why
	}
	s.Status, s.Reason = macho.StatusRepaired, why
}

// hashAgain reads back a file that was written, and recomputes its digests. The list of an outer bundle may seal this
// file; without digests, it would not match.
func (r *resealer) hashAgain(f *resources.File, contents macho.Image) error {
	if f.Sums == nil {
		return nil
	}
	f.Sums = nil
	d := NewItemDigest("")
	if _, err := io.Copy(d, io.NewSectionReader(contents, 0, contents.Size())); err != nil {
		return err
	}
	f.Sums = d.sums()
	return nil
}

// setCode updates the code of a file. It keeps the earlier hashes, because the lists of outer bundles contain them.
func setCode(f *resources.File, now *macho.Report) {
	var hashes []resources.CodeHash
	k := 0
	for i := range now.Slices {
		s := &now.Slices[i]
		if k < len(f.Code) {
			f.Code[k] = codeOf(s)
			k++
		}
		hashes = appendHashes(hashes, s)
		f.MadeAdhoc = f.MadeAdhoc || s.MadeAdhoc
	}
	if len(hashes) != len(f.Hashes) {
		f.Hashes = hashes
		return
	}
	for i := range hashes {
		f.Hashes[i].Now = hashes[i].Now
	}
}
