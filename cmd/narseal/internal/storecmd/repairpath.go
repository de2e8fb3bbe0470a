package storecmd

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"narseal/cmd/narseal/internal/nixcli"
	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/filter"
	"narseal/macho"
	"narseal/nar"
)

// path scans a path, and repairs it if necessary. If another Nix has replaced the path meanwhile, it starts again.
func (r *repairRun) path(ctx context.Context, p *nixcli.Path) *pathFound {
	for tries := 0; ; tries++ {
		f := r.tryPath(ctx, p)
		now := r.replaced(ctx, f)
		if now == nil || tries >= maxReplaced {
			return f
		}
		r.Terminal.Infof("%s: somebody has replaced it by Nix meanwhile, trying again", r.store.Path(p.Base))
		r.Terminal.Progress().Add(-max(p.NarSize, f.tally.Size))
		f.drop(r.budget)
		p = now
	}
}

// maxReplaced is how often a run starts again with a path.
const maxReplaced = 3

// replaced returns what Nix's database has of a failed path, if that has changed since f.Path was read. It waits a while if
// a Nix may be replacing the path: the new contents are there before they are registered.
func (r *repairRun) replaced(ctx context.Context, f *pathFound) *nixcli.Path {
	for tries := 0; f.status == failed && !f.kept; tries++ {
		now, err := r.store.Info(ctx, f.Base)
		if err != nil || len(now) != 1 {
			return nil
		}
		if now[0].NarHash != f.NarHash {
			return &now[0]
		}
		if !r.settle(ctx, f, tries) {
			return nil
		}
	}
	return nil
}

func (r *repairRun) tryPath(ctx context.Context, p *nixcli.Path) *pathFound {
	if r.waiting[p.Base] {
		return &pathFound{Path: *p, status: changed, warnings: []string{"an earlier run has not completed its repair; a run without --dry-run would"}}
	}
	if err := r.elsewhere[p.Base]; err != nil {
		return &pathFound{Path: *p, status: failed, errs: []error{err}}
	}
	f := r.scan(ctx, p)
	if f.status == failed {
		if invalid, err := r.store.Invalid(ctx, p.Base); err == nil && len(invalid) > 0 {
			f.disappear(r.budget)
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
		if invalid, e := r.store.Invalid(ctx, p.Base); e == nil && len(invalid) > 0 {
			f.disappear(r.budget)
			return f
		}
		f.status = failed
		f.errs = append(f.errs, fmt.Errorf("%s: %w", r.store.Path(p.Base), err))
	}
	return f
}

// isWanted reports whether a path has a signature that may be repairable.
func (r *repairRun) isWanted(f *pathFound) bool {
	if f.omitted > 0 {
		return f.tally.Invalid > 0
	}
	for i := range f.signatures {
		switch f.signatures[i].Status {
		case macho.StatusStale, macho.StatusBundle:
			return true
		case macho.StatusCMS:
			if r.options.OnCMS != macho.CMSKeep {
				return true
			}
		}
	}
	return false
}

// repair replaces a path, or, in a dry run, finds out how it would change.
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
	if err := r.essentialError(f.Base); err != nil {
		return err
	}
	info, err := r.store.Info(ctx, f.Base)
	if err != nil || len(info) != 1 {
		return errors.Join(err, errNotValid)
	}
	out := sha256.New()
	release, err := r.space.reserve(ctx, true, func(uint64) room { return room{uint64(f.NarSize) + spareBytes, spareInodes} })
	if err != nil {
		return err
	}
	g, err := r.staging.stage(&info[0], r.store.Dir, r.options.SecretKeys, func(w io.Writer) (int64, error) {
		repaired, err := r.filter(ctx, f, io.MultiWriter(w, out))
		if err == nil && repaired == 0 {
			err = errNothing
		}
		e := &f.tally.Entries
		return e.Regular + e.Directory + e.Symlink, err
	})
	release()
	if err == errNothing {
		return nil
	}
	if err != nil {
		return err
	}
	f.warnings = r.losses(ctx, f.Base)
	if err := r.apply(ctx, g); err != nil {
		var other *otherError
		f.kept = !errors.As(err, &other)
		return err
	}
	f.status, f.newHash = changed, report.SRI([sha256.Size]byte(out.Sum(nil)))
	if err := r.keysError(g); err != nil {
		f.errs = append(f.errs, err)
	}
	return nil
}

// losses describes what a path loses when its contents change.
func (r *repairRun) losses(ctx context.Context, base string) (losses []string) {
	p, err := r.store.Provenance(ctx, base)
	if err != nil {
		r.Terminal.Infof("%s: signatures of the old contents, if there are any, no longer match", r.store.Path(base))
		return nil
	}
	if p.ContentAddressed {
		losses = append(losses, "no longer content-addressed: its contents no longer match its name")
	}
	if n := len(p.Signatures); n > 0 {
		losses = append(losses, fmt.Sprintf("%s of its old contents dropped", report.Plural(int64(n), "signature", "signatures")))
	}
	return losses
}

// errModified is the error of a path that was changed without Nix.
var errModified = errors.New("its contents do not match Nix's database")

// filter writes the repaired archive of a path, and replaces the results of the scan with its own. It returns the
// number of repaired slices.
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
	if closed := archive.Close(); err == nil || errors.Is(err, io.ErrUnexpectedEOF) && closed != nil {
		err = closed // Nix's error says why
	}
	if err == nil && [sha256.Size]byte(in.Sum(nil)) != f.NarHash {
		path := r.store.Path(f.Base)
		err = terminal.Hint(fmt.Errorf("%w: got %s, want %s", errModified, hashText([sha256.Size]byte(in.Sum(nil))), hashText(f.NarHash)),
			"somebody has changed "+path+" without Nix. nix-store --repair-path "+path+
				" restores it; then narseal store repair repairs it")
	}
	return result.Repaired, err
}
