// Package inplace repairs files in place: it replaces each file that needs repair with a repaired copy. When the files
// of a bundle are repaired, its list of resources and its main executable are changed in the same way.
//
// A copy has no name, or a hidden one, until it is complete. It is made and gets its name in the directory that the
// walk opened (package scan), so that other users who can change the tree cannot redirect the replacement to another
// file.
//
// If a run is killed, each file is either unchanged or repaired. It may leave behind: hard links of which only some
// names were repaired and which are now two files; the modification time of a directory; and a hidden .narseal-* file
// or a directory that was made writable, both of which the next run cleans up.
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

	// What happens is reported to these, by one goroutine unless it says otherwise. See scan.Scanner.
	Entered func(*scan.Entry)
	Found   func(r *scan.Result, replaced bool)
	Slice   func(nar.Path, macho.Slice)
	Fail    func(error)
	// Sealed is called for each file that was changed to seal its bundle again, and for which Found was not called as
	// replaced.
	Sealed func(nar.Path)
	// Refuse, if not nil, says why a directory is left out. It is an error.
	Refuse func(dir *scan.Entry) error
	// Warn gets what could not be kept of a file, or cleared up. Several goroutines call it.
	Warn func(path nar.Path, problem string)

	scanner  scan.Scanner
	links    links
	dirs     directories
	mu       sync.Mutex
	replaced map[*scan.Entry]bool // until Found is called
	refused  []error

	// Of the goroutine that reports:
	current     bool      // the result that Found was called with was replaced
	members     []*member // that are open
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
	for _, refused := range r.refused {
		r.Fail(refused)
	}
	r.refused = nil
	return err
}

// skip reports whether a name is left out.
func (r *Repairer) skip(e *scan.Entry) bool {
	if !e.Type.IsDir() || r.Refuse == nil {
		return r.leftover(e)
	}
	err := r.Refuse(e)
	if err != nil {
		r.refused = append(r.refused, err)
	}
	return err != nil
}

// Elsewhere calls f for each replaced file that has names outside of what was walked, which still have the old contents.
func (r *Repairer) Elsewhere(f func(path nar.Path, names uint64)) {
	r.links.elsewhere(f)
	for _, g := range r.sealedLinks {
		f(g.path, g.names-g.seen)
	}
}

// recover clears up after a run that was killed.
func (r *Repairer) recover(dir *scan.Dir) {
	mode, err := r.dirs.recover(dir)
	switch {
	case err != nil:
		r.Warn(dir.Path(), fmt.Sprintf("it may have been left writable by a run that was killed: %v", err))
	case mode != 0:
		r.Warn(dir.Path(), fmt.Sprintf("a run that was killed had left it writable; its mode is %#o again", mode))
	}
}

// leftover removes a hidden file that a killed run has left, and reports whether it did. A bundle would count it.
func (r *Repairer) leftover(e *scan.Entry) bool {
	if !e.Type.IsRegular() || !atomicfile.IsHidden(e.Name) {
		return false
	}
	removed := false
	err := r.in(e.Dir, func(d *directory) error {
		removed = atomicfile.NewDir(d.File).RemoveLeftover(e.Name)
		return nil
	})
	if err != nil {
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

// examine repairs an image, or makes its name one of the file that took the place of another name.
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
		g.finish(entry, now, copyOf(rep), err) // whoever gets a report identifies its slices
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

// mixed reports whether the kernel refuses an image of which only some slices are signed by a certificate.
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

// copyOf copies a report as far as Report.Identify writes in it.
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

// in calls replace with a directory, which can be written meanwhile.
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

// repair verifies an image, and replaces its file if that makes a signature valid: then now describes the new file.
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
	before := rep // what bundles around it seal
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
