package storecmd

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"narseal/cmd/narseal/internal/command"
	"narseal/cmd/narseal/internal/nixcli"
	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/filter"
	"narseal/macho"
	"narseal/nar"
)

// repairRun is one call of Repair.
type repairRun struct {
	*run
	options *RepairOptions
	cfg     filter.Config // which each path gets a copy of
	access  nixcli.Access
	staging *staging        // nil in a dry run
	waiting map[string]bool // in a dry run, the paths that an earlier run has staged
	out     io.Writer
	ended   chan struct{}
	left    map[macho.Status]int // invalid slices that stay
	missing int64                // slices without a signature that need one
}

// Repair repairs the invalid signatures in valid paths, and has Nix take the result.
func Repair(ctx context.Context, e *command.Env, o *RepairOptions) error {
	base, err := newRun(ctx, e, &o.Options, "repair")
	if err != nil {
		return err
	}
	defer base.file.Abort()
	r := &repairRun{run: base, options: o, out: e.List(), ended: make(chan struct{}), left: map[macho.Status]int{}}
	r.rep.dryRun, r.unsigned = o.DryRun, report.UnsignedWarn
	r.cfg.Signatures = filter.SignatureOptions{Repair: filter.RepairAll, OnCMS: o.OnCMS, Verify: true, Unsigned: true, Jobs: 1}
	r.cfg.Spill = o.Spill(e)
	// Nix's commands need rights that no policy can name, and inherit this one: see SECURITY.md.
	release, err := e.Cleanup.Hold(func() (func(), error) { return r.stop, nil })
	if err != nil {
		return err
	}
	err = r.work(ctx)
	close(r.ended)
	if err := errors.Join(err, release(func() error { return nil })); err != nil {
		return err
	}
	r.rep.total = r.total
	if err := r.file.Write(r.rep.write); err != nil {
		return err
	}
	e.Terminal.Infof("%s", r.summary())
	r.advise()
	return r.outcome()
}

// patience is how long a run that is stopped waits for Nix to end what it does.
const patience = 30 * time.Second

// stop waits until the run has ended: it begins nothing new, and a path that Nix is replacing should be complete.
func (r *repairRun) stop() {
	for _, wait := range []time.Duration{time.Second, patience} {
		select {
		case <-r.ended:
			return
		case <-time.After(wait):
			if wait == time.Second {
				r.Terminal.Warnf("Nix is replacing a path: waiting for its end")
			}
		}
	}
	r.Terminal.Warnf("Nix goes on by itself; the next narseal store repair completes what it does not")
}

// work finishes what an earlier run has left, and repairs the paths.
func (r *repairRun) work(ctx context.Context) error {
	if err := r.begin(ctx); err != nil {
		return err
	}
	if r.staging != nil {
		defer r.staging.close()
		if err := r.finish(ctx); err != nil {
			return err
		}
	}
	paths, err := r.options.list(ctx, r.store, r.fail)
	if err != nil {
		return err
	}
	return r.each(ctx, paths, r.path, r.done)
}

// begin makes sure of the rights, and prepares what is needed to change paths.
func (r *repairRun) begin(ctx context.Context) (err error) {
	if r.options.DryRun {
		if dir, err := stateDir(r.options.State, r.store); err == nil {
			r.waiting = waiting(dir, r.store)
		}
		return nil
	}
	if r.access, err = r.store.Access(ctx); err != nil {
		return rightsError(err)
	}
	if len(r.options.SecretKeys) == 0 {
		if r.options.SecretKeys, err = runKey(); err != nil {
			return err
		}
	}
	dir, err := stateDir(r.options.State, r.store)
	if err != nil {
		return err
	}
	r.staging, err = openStaging(ctx, dir, r.store, func() {
		r.Terminal.Warnf("waiting for another narseal store repair, or the Nix that it has started, to end")
	})
	return err
}

// finish completes what an earlier run has staged.
func (r *repairRun) finish(ctx context.Context) error {
	bases, err := r.staging.entries()
	if err != nil {
		return err
	}
	for _, base := range bases {
		if err := r.finishPath(ctx, base); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			r.fail(fmt.Errorf("%s: finish what an earlier run has begun: %w", r.store.Path(base), err))
		}
	}
	return nil
}

func (r *repairRun) finishPath(ctx context.Context, base string) error {
	g, err := r.staging.load(base)
	if err != nil {
		return err
	}
	invalid, err := r.store.Invalid(ctx, base)
	if err != nil {
		return err
	}
	if len(invalid) > 0 { // collected as garbage since
		return r.staging.remove(base)
	}
	now, err := r.store.Info(ctx, base)
	if err != nil || len(now) != 1 {
		return errors.Join(err, errNotValid)
	}
	hash := hashText(now[0].NarHash)
	if hash != g.OldHash && r.store.VerifyPath(ctx, base) == nil {
		// The other run has come to its end, or somebody has replaced the path since by something else.
		if hash == g.NewHash {
			r.Terminal.Infof("%s: an earlier run has replaced it", r.store.Path(base))
			return errors.Join(r.addFinished(now[0]), r.staging.remove(base))
		}
		return r.staging.remove(base)
	}
	if err := r.apply(ctx, g); err != nil {
		return err
	}
	r.Terminal.Infof("%s: finished what an earlier run has begun", r.store.Path(base))
	return r.addFinished(now[0])
}

// addFinished reports a path whose repair an earlier run had begun.
func (r *repairRun) addFinished(p nixcli.Path) error {
	r.rep.add(r.run, &pathFound{Path: p, status: finished})
	return r.announce(p.Base)
}

// announce prints a path that was replaced.
func (r *repairRun) announce(base string) error {
	if _, err := fmt.Fprintln(r.out, r.store.Path(base)); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	return nil
}

// path looks at a path, and repairs it if that is needed.
func (r *repairRun) path(ctx context.Context, p *nixcli.Path) *pathFound {
	if r.waiting[p.Base] {
		return &pathFound{Path: *p, status: changed, warnings: []string{"an earlier run has not completed it, and this one would"}}
	}
	f := r.scan(ctx, p)
	if f.status == failed {
		if invalid, err := r.store.Invalid(ctx, p.Base); err == nil && len(invalid) > 0 {
			f.status, f.errs = gone, nil
		} else if r.store.IsGone(p.Base) {
			f.errs = []error{missing(r.store, p.Base)}
		}
		return f
	}
	f.status = unchanged
	if !r.isWanted(f) {
		return f
	}
	if err := r.repair(ctx, f); err != nil {
		f.status = failed
		f.errs = append(f.errs, fmt.Errorf("%s: %w", r.store.Path(p.Base), err))
	}
	return f
}

// isWanted reports whether a path has a signature that a repair may make valid.
func (r *repairRun) isWanted(f *pathFound) bool {
	if f.omitted > 0 {
		return f.tally.Invalid > 0
	}
	for i := range f.signatures {
		switch f.signatures[i].Status {
		case macho.StatusStale:
			return true
		case macho.StatusCMS:
			if r.options.OnCMS != macho.CMSKeep {
				return true
			}
		}
	}
	return false
}

// repair replaces a path, or in a dry run finds out what would become of it.
func (r *repairRun) repair(ctx context.Context, f *pathFound) error {
	if r.staging == nil {
		out := sha256.New()
		repaired, err := r.filter(ctx, f, out)
		if err == nil && repaired > 0 {
			f.status, f.newHash = changed, report.SRI([sha256.Size]byte(out.Sum(nil)))
			f.warnings = r.losses(ctx, f.Base)
		}
		return err
	}
	info, err := r.store.Info(ctx, f.Base)
	if err != nil || len(info) != 1 {
		return errors.Join(err, errNotValid)
	}
	out := sha256.New()
	g, err := r.staging.stage(&info[0], r.store.Dir, r.options.SecretKeys, func(w io.Writer) error {
		repaired, err := r.filter(ctx, f, io.MultiWriter(w, out))
		if err == nil && repaired == 0 {
			err = errNothing
		}
		return err
	})
	if err == errNothing {
		return nil
	}
	if err != nil {
		return err
	}
	f.warnings = r.losses(ctx, f.Base)
	if err := r.apply(ctx, g); err != nil {
		return err
	}
	f.status, f.newHash = changed, report.SRI([sha256.Size]byte(out.Sum(nil)))
	return nil
}

// losses says what a path loses by other contents.
func (r *repairRun) losses(ctx context.Context, base string) (losses []string) {
	p, err := r.store.Provenance(ctx, base)
	if err != nil {
		r.Terminal.Infof("%s: signatures by which it was trusted, if there are any, do not fit any more", r.store.Path(base))
		return nil
	}
	if p.ContentAddressed {
		losses = append(losses, "it was content-addressed, and is not any more: its contents are no longer those that its name says")
	}
	if n := len(p.Signatures); n > 0 {
		losses = append(losses, fmt.Sprintf("%s of its old contents dropped", report.Plural(int64(n), "signature", "signatures")))
	}
	return losses
}

// errModified is the error of a path that somebody has changed behind Nix's back.
var errModified = errors.New("its contents are not those that Nix's database says")

// filter writes the repaired archive of a path, and puts what it finds in the place of what the scan found. It returns how
// many slices were repaired.
func (r *repairRun) filter(ctx context.Context, f *pathFound, w io.Writer) (repaired int64, err error) {
	archive, err := r.store.Dump(ctx, f.Base)
	if err != nil {
		return 0, err
	}
	in := sha256.New()
	cfg := r.cfg
	size, images, hashed := f.tally.Size, f.tally.Images, f.tally.Hashed
	f.drop(r.budget)
	f.tally = report.Tally{Size: size, Images: images, Hashed: hashed}
	cfg.Observer.Signature = func(s filter.Signature) { r.add(f, s) }
	result, err := cfg.Run(nar.NewWriter(w), nar.NewReader(io.TeeReader(bufio.NewReaderSize(archive, 1<<18), in)))
	f.tally.Entries = report.Entries{Regular: result.Regular, Directory: result.Directory, Symlink: result.Symlink}
	var signature *filter.SignatureError
	if errors.As(err, &signature) {
		r.add(f, filter.Signature{Path: signature.Path, Slice: signature.Slice})
	}
	if closed := archive.Close(); err == nil {
		err = closed
	}
	if err == nil && [sha256.Size]byte(in.Sum(nil)) != f.NarHash {
		path := r.store.Path(f.Base)
		err = terminal.Hint(fmt.Errorf("%w: got %s, want %s", errModified, hashText([sha256.Size]byte(in.Sum(nil))), hashText(f.NarHash)),
			"somebody has changed "+path+" without Nix. nix-store --repair-path "+path+
				" brings back what it was; then narseal store repair repairs it")
	}
	return result.Repaired, err
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
		r.Terminal.Infof("%s: gone since the run began", path)
	}
	repaired := int64(0)
	for i := range f.signatures {
		switch s := &f.signatures[i]; {
		case s.Status == macho.StatusRepaired:
			repaired++
		case !s.Status.OK():
			r.left[s.Status]++
			name := report.Item{StorePath: path, OnDisk: true, Signature: *s}
			r.WarnInvalid(name.Name(), &s.Slice)
		}
	}
	if f.omitted > 0 {
		r.Terminal.Warnf("%s: %s more", path, report.Plural(f.omitted, "signature", "signatures"))
	}
	if f.status == changed {
		r.Terminal.Infof("%s: %s repaired", path, report.Plural(repaired, "signature", "signatures"))
		err = r.announce(f.Base)
	}
	r.rep.add(r.run, f)
	return err
}

// summary says in one line how the run ended.
func (r *repairRun) summary() string {
	word := "changed"
	if r.options.DryRun {
		word = "would change"
	}
	n := r.rep.counts
	s := fmt.Sprintf("%s %s, %d unchanged", report.Plural(int64(n[changed]), "path", "paths"), word, n[unchanged])
	if n[finished] > 0 {
		s += fmt.Sprintf(", %d finished that an earlier run had begun", n[finished])
	}
	if n[failed] > 0 {
		s += fmt.Sprintf(", %d failed", n[failed])
	}
	return s
}

// advise says what can be done about the signatures that stay invalid.
func (r *repairRun) advise() {
	r.WarnUnsigned(r.missing, "narseal store verify")
	if n := r.left[macho.StatusCMS]; n > 0 {
		r.Terminal.Warnf("%s by a certificate, which only its owner can renew: --on-cms adhoc replaces it by an ad-hoc one, "+
			"or take a build of the package that was not changed after it was signed",
			report.Plural(int64(n), "signature", "signatures"))
	}
	others := 0
	for status, n := range r.left {
		if status != macho.StatusCMS {
			others += n
		}
	}
	if others > 0 {
		r.Terminal.Warnf("%s cannot be repaired, for the reasons above: build or fetch the package again, in another version if it comes back the same",
			report.Plural(int64(others), "signature", "signatures"))
	}
}
