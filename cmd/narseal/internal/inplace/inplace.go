// Package inplace repairs files in place: it replaces each file that needs repair with a repaired copy. When the files
// of a bundle are repaired, its list of resources and its main executable are changed in the same way.
//
// A copy has no name, or a hidden one, until it is complete. It is created and gets its name in the directory that the
// walk opened (package scan), so that other users who can change the tree cannot redirect the replacement to another
// file.
//
// If a run is killed, each file is either unchanged or repaired. The run may leave behind hard links that were split
// into two files, because only some names were repaired, and a changed modification time of a directory. It may also
// leave a hidden .narseal-* file or a writable directory; the next run cleans these up.
package inplace

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"narseal/cmd/narseal/internal/atomicfile"
	"narseal/cmd/narseal/internal/cleanup"
	"narseal/cmd/narseal/internal/scan"
	"narseal/filter"
	"narseal/macho"
	"narseal/macho/bundle"
	"narseal/nar"
)

// A Repairer repairs files and directories. Its fields are set before the first call of Run.
type Repairer struct {
	Jobs    int
	OnCMS   macho.CMSPolicy
	Cleanup *cleanup.Registry // may be nil

	// One goroutine calls all of these functions except Refuse and Warn. See scan.Scanner for the first four.
	Entered func(*scan.Entry)
	Found   func(r *scan.Result, replaced bool)
	Slice   func(nar.Path, macho.Slice)
	Fail    func(error)
	// Sealed is called for each file that was changed only to repair the seal of a bundle, so that Found did not report
	// it as replaced.
	Sealed func(nar.Path)
	// Refuse, if not nil, returns an error for a directory that must be left out. The error is passed to Fail.
	Refuse func(dir *scan.Entry) error
	// Warn is called for attributes that a file lost, and for leftovers that could or could not be cleaned up. Several
	// goroutines may call it at the same time.
	Warn func(path nar.Path, problem string)

	scanner  scan.Scanner
	links    links
	dirs     directories
	mu       sync.Mutex
	replaced map[*scan.Entry]bool // until Found is called
	late     []error              // errors of the walk, which are reported at its end

	// Used only by the goroutine that calls the callbacks:
	current     bool      // the file of the current result was replaced
	members     []*member // open members
	sealedLinks sealedLinks
}

// Run repairs a file, or all files in a directory.
func (r *Repairer) Run(ctx context.Context, path string) error {
	r.dirs.cleanup = r.Cleanup
	s := &r.scanner
	s.Unsigned = true
	s.Jobs, s.Examine, s.Entered, s.Opened, s.Slice, s.Fail = r.Jobs, r.examine, r.Entered, r.recover, r.Slice, r.Fail
	s.Found = func(res *scan.Result) {
		r.current = r.wasReplaced(&res.Entry)
		r.Found(res, r.current)
	}
	s.Reseal = &bundle.Reseal{All: true, Resumed: true, OnCMS: r.OnCMS, Jobs: r.Jobs}
	s.Member, s.Settled, s.Skip = r.member, r.settled, r.skip
	defer r.drop()
	err := s.Run(ctx, path)
	for _, late := range r.late {
		r.Fail(late)
	}
	r.late = nil
	return err
}

// skip reports whether the scan must leave an entry out.
func (r *Repairer) skip(e *scan.Entry) bool {
	if !e.Type.IsDir() || r.Refuse == nil {
		return r.leftover(e)
	}
	err := r.Refuse(e)
	if err != nil {
		r.late = append(r.late, err)
	}
	return err != nil
}

// Elsewhere calls f for each replaced file that has other names that no Run visited. These names still have the old
// contents.
func (r *Repairer) Elsewhere(f func(path nar.Path, names uint64)) {
	r.links.elsewhere(f)
	for _, g := range r.sealedLinks {
		f(g.path, g.names-g.seen)
	}
}

// recover restores a directory that a killed run left writable.
func (r *Repairer) recover(dir *scan.Dir) {
	mode, err := r.dirs.recover(dir)
	switch {
	case err != nil:
		r.Warn(dir.Path(), fmt.Sprintf("it may have been left writable by a run that was killed: %v", err))
	case mode != 0:
		r.Warn(dir.Path(), fmt.Sprintf("a run that was killed had left it writable; its mode is %#o again", mode))
	}
}

// leftover removes a hidden file that a killed run left behind, and reports whether it did. Otherwise the file would
// count as a part of its bundle.
func (r *Repairer) leftover(e *scan.Entry) bool {
	if !e.Type.IsRegular() || !atomicfile.IsHidden(e.Name) {
		return false
	}
	entered, removed := false, false
	err := r.in(e.Dir, func(d *directory) error {
		entered, removed = true, atomicfile.NewDir(d.File).RemoveLeftover(e.Name)
		return nil
	})
	switch {
	case err != nil && entered: // the directory cannot be restored
		r.late = append(r.late, fmt.Errorf("%s: %w", e.Path().Short(), err))
	case err != nil:
		r.Warn(e.Path(), fmt.Sprintf("a run that was killed may have left it: %v", err))
	}
	return removed
}

func (r *Repairer) wasReplaced(e *scan.Entry) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.replaced[e]
	delete(r.replaced, e)
	return was
}

func (r *Repairer) setReplaced(f *scan.File) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.replaced == nil {
		r.replaced = map[*scan.Entry]bool{}
	}
	r.replaced[f.Entry] = true
}

// examine repairs an image. If another hard link of the file was already replaced, it links the name to the new file
// instead.
func (r *Repairer) examine(f *scan.File, cfg macho.Config) (*macho.Report, error) {
	cfg.OnCMS = r.OnCMS
	g, first := r.links.claim(f)
	switch {
	case g == nil:
		rep, _, _, err := r.repair(f, cfg)
		return rep, err
	case first:
		rep, replaced, now, err := r.repair(f, cfg)
		var entry *scan.Entry
		if replaced {
			entry = &scan.Entry{Dir: f.Entry.Dir, Name: f.Entry.Name}
		}
		g.finish(entry, now, copyOf(rep), err) // every receiver of a report modifies it by Identify
		return rep, err
	case g.err != nil:
		return copyOf(g.report), f.Wrap(fmt.Errorf("a hard link of %s: %w", g.path.Short(), g.err))
	case g.first == nil:
		return copyOf(g.report), nil
	}
	if err := r.in(f.Entry.Dir, func(d *directory) error { return r.relink(d, g, f) }); err != nil {
		return nil, f.Wrap(fmt.Errorf("link: %w", err))
	}
	r.setReplaced(f)
	return copyOf(g.report), nil
}

// mixed reports whether all slices of an image are refused and only some of them are signed by a certificate.
func mixed(rep *macho.Report) bool {
	cms := 0
	for _, s := range rep.Slices {
		if s.Status != macho.StatusRefused {
			return false
		}
		if s.Signature == "cms" {
			cms++
		}
	}
	return cms > 0 && cms < len(rep.Slices)
}

// copyOf copies the parts of a report that Report.Identify changes.
func copyOf(rep *macho.Report) *macho.Report {
	if rep == nil {
		return nil
	}
	to := *rep
	to.Slices = slices.Clone(rep.Slices)
	for i := range to.Slices {
		to.Slices[i].CodeDirectories = slices.Clone(to.Slices[i].CodeDirectories)
	}
	return &to
}

// in calls replace with an open directory, and makes the directory writable during the call.
func (r *Repairer) in(dir *scan.Dir, replace func(*directory) error) (err error) {
	d, err := r.dirs.enter(dir)
	if err != nil {
		return err
	}
	defer func() {
		if left := r.dirs.leave(d); err == nil {
			err = left
		}
	}()
	return replace(d)
}

// repair verifies an image, and replaces its file if a signature can be repaired. now describes the new file.
func (r *Repairer) repair(f *scan.File, cfg macho.Config) (rep *macho.Report, replaced bool, now unix.Stat_t, err error) {
	if rep, err = cfg.Verify(f); err == nil {
		err = f.Unchanged()
	}
	if err != nil {
		return nil, false, now, f.Wrap(err)
	}
	wanted := r.OnCMS == macho.CMSAdhoc && mixed(rep)
	for _, s := range rep.Slices {
		switch {
		case s.Status == macho.StatusCMS && r.OnCMS == macho.CMSFail:
			return rep, false, now, &filter.SignatureError{Path: f.Path(), Slice: s}
		case s.Status == macho.StatusStale, s.Status == macho.StatusCMS && r.OnCMS == macho.CMSAdhoc:
			wanted = true
		}
	}
	if !wanted {
		return rep, false, now, nil
	}
	before := rep // bundles around it seal the old code directory hash
	if err := before.Identify(f); err != nil {
		return nil, false, now, f.Wrap(err)
	}
	err = r.in(f.Entry.Dir, func(d *directory) error {
		done, st, err := r.replace(d, f, cfg)
		if err == nil {
			rep, replaced, now = done, true, st
			rep.Was(before)
			r.setReplaced(f)
		}
		return err
	})
	if err != nil {
		err = f.Wrap(err)
	}
	return rep, replaced, now, err
}
