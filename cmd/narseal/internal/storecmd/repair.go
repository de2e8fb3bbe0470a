package storecmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"narseal/cmd/narseal/internal/command"
	"narseal/cmd/narseal/internal/nixcli"
	"narseal/cmd/narseal/internal/repairnote"
	"narseal/cmd/narseal/internal/report"
	"narseal/filter"
	"narseal/macho"
)

// repairRun is one call of Repair.
type repairRun struct {
	*run
	options *RepairOptions
	cfg     filter.Config // each path uses a copy
	access  nixcli.Access
	staging *staging        // nil in a dry run
	waiting map[string]bool // in a dry run, the paths that an earlier run has staged
	// elsewhere has the errors of paths that runs with other state directories have not completed.
	elsewhere map[string]error
	// unfinished has the paths that an earlier run has staged, and this one could not finish either.
	unfinished map[string]bool
	// essential has the paths that must be there at every moment.
	essential map[string]bool
	space     *space
	storeLock *os.File         // nil without direct access
	note      *repairnote.Note // nil without direct access
	ownKeys   bool             // the user named keys
	count     atomic.Int64     // paths that were changed
	out       io.Writer
	ended     chan struct{}
	left      map[macho.Status]int // invalid slices that were not repaired
	missing   int64                // slices without a signature that need one
}

// Repair repairs the invalid signatures in valid paths, and makes Nix import the results.
func Repair(ctx context.Context, e *command.Env, o *RepairOptions) error {
	base, err := newRun(ctx, e, &o.Options, "repair")
	if errors.Is(err, nixcli.ErrNoNix) && !o.DryRun {
		if err = bringBackNix(ctx, e, o, err); err == nil {
			base, err = newRun(ctx, e, &o.Options, "repair")
		}
	}
	if err != nil {
		return err
	}
	defer base.file.Abort()
	r := &repairRun{run: base, options: o, out: e.List(), ended: make(chan struct{}), left: map[macho.Status]int{}, unfinished: map[string]bool{}}
	r.space = newSpace(r.store.RealDir)
	r.rep.dryRun, r.unsigned = o.DryRun, report.UnsignedWarn
	r.cfg.Signatures = filter.SignatureOptions{Repair: filter.RepairAll, OnCMS: o.OnCMS, Verify: true, Unsigned: true, Jobs: 1}
	r.cfg.Spill, r.cfg.Bundles = o.Spill(e, o.Memory()), r.bundles
	e.Cleanup.OnStop(func() string {
		return fmt.Sprintf("%s changed, the others are unchanged; the same command continues", report.Plural(r.count.Load(), "path", "paths"))
	})
	// There is no sandbox: Nix's commands would inherit it, and need rights that no policy can grant. See SECURITY.md.
	release, err := e.Cleanup.Hold(func() (func(), error) { return r.stop, nil })
	if err != nil {
		return err
	}
	err = r.work(ctx)
	close(r.ended)
	if err := errors.Join(err, release(func() error { return nil })); err != nil {
		return err
	}
	if err := r.file.Write(r.rep.write); err != nil {
		return err
	}
	e.Terminal.Infof("%s", r.summary())
	r.advise()
	return r.outcome()
}

// patience is how long a stopped run waits for a running Nix command.
const patience = 30 * time.Second

// stop waits until the run has ended, so that Nix can finish replacing a path. The run begins no further path.
func (r *repairRun) stop() {
	for _, wait := range []time.Duration{time.Second, patience} {
		select {
		case <-r.ended:
			return
		case <-time.After(wait):
			if wait == time.Second {
				r.Terminal.Warnf("waiting for Nix to finish replacing a path")
			}
		}
	}
	r.Terminal.Warnf("Nix continues on its own; the next narseal store repair finishes the rest")
}

// work finishes the repairs of an earlier run, and then repairs the paths.
func (r *repairRun) work(ctx context.Context) error {
	defer func() {
		// The note goes first: a directory that it has is not expected to be gone.
		if err := r.closeNote(ctx); err != nil {
			r.Terminal.Warnf("state: %v", err)
		}
		if r.staging != nil {
			r.staging.close()
		}
		if r.storeLock != nil {
			r.storeLock.Close()
		}
	}()
	if err := r.begin(ctx); err != nil {
		return err
	}
	if r.staging != nil {
		if err := r.finish(ctx); err != nil {
			return err
		}
	}
	paths := nixcli.NewPathList(r.options.Spill(r.Env, nil).Open)
	defer paths.Close()
	if err := r.options.list(ctx, r.store, r.leaveOut, func(p *nixcli.Path) error {
		if r.unfinished[p.Base] { // and is already reported
			return nil
		}
		return paths.Add(p)
	}); err != nil {
		return err
	}
	return r.each(ctx, paths, r.path, r.done)
}

// begin checks the user's rights, and takes the locks for changing paths.
func (r *repairRun) begin(ctx context.Context) (err error) {
	if r.options.DryRun {
		dir, err := stateDir(r.options.State, r.store)
		if err == nil {
			r.waiting, _ = waiting(dir, r.store)
		}
		r.elsewhere = r.findIncomplete(ctx, dir)
		return nil
	}
	if r.access, err = r.store.Access(ctx); err != nil {
		return rightsError(err)
	}
	if err := r.findEssential(ctx); err != nil {
		return err
	}
	r.ownKeys = len(r.options.SecretKeys) > 0
	if !r.ownKeys {
		if r.options.SecretKeys, err = runKey(); err != nil {
			return err
		}
	}
	dir, err := stateDir(r.options.State, r.store)
	if err != nil {
		return err
	}
	if r.staging, err = openStaging(ctx, dir, r.store, r.warnWaiting); err != nil {
		return err
	}
	r.staging.made = r.staging.made || r.options.State == ""
	dir = filepath.Dir(r.staging.dir)
	if r.access != nixcli.Direct {
		r.elsewhere = r.findIncomplete(ctx, dir)
		return nil
	}
	if r.storeLock, err = lockStore(ctx, r.store, r.warnWaiting); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	noted := dir
	if isDefault(dir, r.store) {
		noted = ""
	}
	if r.note, err = repairnote.Open(r.store.StateDir, noted); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	r.elsewhere = r.findIncomplete(ctx, dir)
	return removeLeft(r.Env, r.store)
}

// closeNote leaves in the note only paths that are not complete, and state directories with staged paths.
func (r *repairRun) closeNote(ctx context.Context) error {
	return r.note.Close(
		func(bases []string) []string { return damaged(ctx, r.store, bases) },
		func(dir string) bool { return isUsed(dir, r.store) })
}

// done reports a path.
func (r *repairRun) done(f *pathFound) (err error) {
	path := r.store.Path(f.Base)
	r.total.Sum(&f.tally)
	r.missing += f.missing
	for _, err := range f.errs {
		var signature *filter.SignatureError
		if errors.As(err, &signature) {
			r.Terminal.Error(err)
		} else {
			r.fail(err)
		}
	}
	for _, warning := range f.warnings {
		r.Terminal.Warnf("%s: %s", path, warning)
	}
	if f.status == gone {
		r.Terminal.Infof("%s: it disappeared during the run", path)
	}
	repaired := int64(0)
	for i := range f.signatures {
		switch s := &f.signatures[i]; {
		case s.Status == macho.StatusRepaired:
			repaired++
		case !s.Status.OK():
			if f.status != failed { // which has another reason
				r.left[s.Status]++
			}
			name := report.Item{StorePath: path, OnDisk: true, Signature: *s}
			r.WarnInvalid(name.Name(), &s.Slice)
		}
	}
	if f.omitted > 0 {
		r.Terminal.Warnf("%s: %s more", path, report.Plural(f.omitted, "signature", "signatures"))
	}
	if f.status == changed {
		r.count.Add(1)
		r.Terminal.Infof("%s: %s repaired", path, report.Plural(repaired, "signature", "signatures"))
		err = r.announce(f.Base)
	}
	r.rep.add(r.run, f)
	return err
}

// summary describes in one line how the run ended.
func (r *repairRun) summary() string {
	word := "changed"
	if r.options.DryRun {
		word = "would change"
	}
	n := r.rep.counts
	s := fmt.Sprintf("%s %s, %d unchanged", report.Plural(int64(n[changed]), "path", "paths"), word, n[unchanged])
	if n[finished] > 0 {
		s += fmt.Sprintf(", %d finished from an earlier run", n[finished])
	}
	if n[failed] > 0 {
		s += fmt.Sprintf(", %d failed", n[failed])
	}
	return s
}

// advise warns about signatures that stay invalid, and says what to do about them.
func (r *repairRun) advise() {
	r.WarnUnsigned(r.missing, "narseal store verify")
	if n := r.left[macho.StatusCMS]; n > 0 {
		r.Terminal.Warnf("%s made with a certificate, which only its owner can renew: --on-cms adhoc makes such signatures ad-hoc; "+
			"or use a build of the package that was not changed after it was signed",
			report.Plural(int64(n), "signature", "signatures"))
	}
	others := 0
	for status, n := range r.left {
		if status != macho.StatusCMS {
			others += n
		}
	}
	if others > 0 {
		r.Terminal.Warnf("%s cannot be repaired, for the reasons above: rebuild or download the package again, or use another version",
			report.Plural(int64(others), "signature", "signatures"))
	}
}
