package storecmd

import (
	"context"
	"errors"
	"fmt"
	"os"

	"narseal/cmd/narseal/internal/nixcli"
	"narseal/cmd/narseal/internal/terminal"
)

// apply replaces a path with its staged contents. When Nix's database and the contents agree, it removes the staged
// files. Until they agree, the path is in the note.
func (r *repairRun) apply(ctx context.Context, g *staged) error {
	if err := r.note.Add(g.Base); err != nil {
		return err
	}
	err := r.applyNoted(ctx, g)
	if err == nil || len(damaged(ctx, r.store, []string{g.Base})) == 0 {
		r.note.Drop(g.Base)
	}
	return err
}

func (r *repairRun) applyNoted(ctx context.Context, g *staged) error {
	ways := []func(context.Context, *staged) error{r.takeFromCache}
	if r.canReplace() {
		ways = append(ways, r.replace)
		if r.essential[g.Base] {
			ways = ways[1:] // Nix would remove a path that it needs itself
		}
	} else if r.essential[g.Base] {
		return r.essentialError(g.Base)
	}
	var err error
	for i, way := range ways {
		if i > 0 {
			r.Terminal.Infof("%s: Nix did not repair it, trying another way: %v", r.store.Path(g.Base), err)
		}
		this := way(ctx, g)
		if this == nil || ctx.Err() != nil {
			err = this
			break
		}
		var other *otherError
		if errors.As(this, &other) {
			return r.forget(ctx, g, this)
		}
		if err != nil {
			this = fmt.Errorf("%w; then %w", err, this)
		}
		err = this
	}
	if err != nil {
		err = fmt.Errorf("%w (the repaired contents are kept in %s; narseal store repair tries again)", err, g.dir())
		if r.essential[g.Base] {
			err = terminal.Hint(err, essentialHint)
		}
		return err
	}
	// Nix has synced its database, but perhaps not the contents. Keep the staged files until the contents are synced,
	// too.
	if err := syncAll(r.store.RealDir); err != nil {
		return err
	}
	return r.staging.remove(g.Base)
}

// takeFromCache makes Nix replace a path with the one in the staged cache. Nix removes the old contents first.
func (r *repairRun) takeFromCache(ctx context.Context, g *staged) error {
	release, err := r.reserveFor(ctx, g, false)
	if err != nil {
		return err
	}
	defer release()
	if err := r.isAsStaged(ctx, g); err != nil {
		return err
	}
	if err := r.store.Repair(ctx, r.access, g.Base, g.cache(), r.locks()); err != nil {
		return err
	}
	return r.check(ctx, g)
}

// canReplace reports whether narseal may replace paths itself. Nix cannot register a path whose location on disk differs
// from its name.
func (r *repairRun) canReplace() bool {
	return r.access == nixcli.Direct && r.store.RealDir == r.store.Dir
}

const essentialHint = "with another Nix first on PATH, which is not of this store, narseal store repair can have it replaced"

// essentialError is the error of a path that Nix needs itself, where only Nix can replace it. Nix would remove it first.
func (r *repairRun) essentialError(base string) error {
	if !r.essential[base] || r.canReplace() {
		return nil
	}
	hint := essentialHint
	if r.access == nixcli.Daemon {
		hint += "; root can replace it without the daemon: sudo env NIX_REMOTE= narseal store repair " + r.store.Path(base)
	}
	return terminal.Hint(errors.New("the Nix on PATH needs this path itself: if the run were stopped while Nix replaces it, no Nix could finish it"), hint)
}

// findEssential finds the paths that Nix or this program need to start. These are replaced in one step, so that the
// next run can continue if this one is killed.
func (r *repairRun) findEssential(ctx context.Context) error {
	programs := []string{r.store.Program()}
	if self, err := os.Executable(); err == nil {
		programs = append(programs, self)
	}
	r.essential = map[string]bool{}
	for _, program := range programs {
		base, ok := r.store.BaseOnDisk(program)
		if !ok {
			continue // not from this store
		}
		// It may be in the store directory without being a path of this database.
		if invalid, err := r.store.Invalid(ctx, base); err != nil {
			return err
		} else if len(invalid) > 0 {
			continue
		}
		closure, err := r.store.Closure(ctx, base)
		if err != nil {
			return err
		}
		for _, base := range closure {
			r.essential[base] = true
		}
	}
	return nil
}

// An otherError is the error of a path that has changed since its replacement was staged.
type otherError struct {
	valid bool   // it was replaced, not collected
	hash  string // that Nix's database has
	want  string
}

func (e *otherError) Error() string {
	if !e.valid {
		return errNotValid.Error() + " any more"
	}
	return fmt.Sprintf("somebody has replaced it meanwhile: the database of Nix has the hash %s, want %s", e.hash, e.want)
}

// isAsStaged returns an otherError unless the hash in Nix's database is still the old or already the new one.
func (r *repairRun) isAsStaged(ctx context.Context, g *staged) error {
	now, err := r.store.Info(ctx, g.Base)
	if err != nil || len(now) != 1 {
		if invalid, e := r.store.Invalid(ctx, g.Base); e == nil && len(invalid) > 0 {
			return &otherError{}
		}
		return errors.Join(err, errNotValid)
	}
	if hash := hashText(now[0].NarHash); hash != g.OldHash && hash != g.NewHash {
		return &otherError{valid: true, hash: hash, want: g.OldHash}
	}
	return nil
}

// forget removes the staged files of a path that was collected or replaced, unless its contents do not match Nix's
// database.
func (r *repairRun) forget(ctx context.Context, g *staged, why error) error {
	if invalid, err := r.store.Invalid(ctx, g.Base); err != nil || len(invalid) == 0 && r.store.VerifyPath(ctx, g.Base) != nil {
		return errors.Join(why, err)
	}
	return errors.Join(why, r.staging.remove(g.Base))
}

// check returns an error unless a path has the contents that were staged, and Nix's database says so.
func (r *repairRun) check(ctx context.Context, g *staged) error {
	ctx = context.WithoutCancel(ctx)
	now, err := r.store.Info(ctx, g.Base)
	if err != nil || len(now) != 1 {
		return errors.Join(err, errNotValid)
	}
	if hash := hashText(now[0].NarHash); hash != g.NewHash {
		return fmt.Errorf("the database of Nix has the hash %s, want %s", hash, g.NewHash)
	}
	return r.store.VerifyPath(ctx, g.Base)
}
