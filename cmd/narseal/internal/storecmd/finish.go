package storecmd

import (
	"context"
	"errors"
	"fmt"

	"narseal/cmd/narseal/internal/nixcli"
)

// finish completes the repairs that an earlier run staged.
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
			r.unfinished[base] = true
			r.leaveOut(nixcli.Path{Base: base}, fmt.Errorf("%s: finish the repair that an earlier run began: %w", r.store.Path(base), err))
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
	if len(invalid) > 0 { // deleted by the garbage collector since then
		return r.staging.remove(base)
	}
	now, err := r.store.Info(ctx, base)
	if err != nil || len(now) != 1 {
		return errors.Join(err, errNotValid)
	}
	hash := hashText(now[0].NarHash)
	if hash != g.OldHash && r.store.VerifyPath(ctx, base) == nil {
		// The earlier run completed the repair, or somebody has since replaced the path.
		if hash == g.NewHash {
			r.Terminal.Infof("%s: an earlier run replaced it", r.store.Path(base))
			return errors.Join(r.addFinished(now[0], g), r.staging.remove(base))
		}
		return r.staging.remove(base)
	}
	if err := r.apply(ctx, g); err != nil {
		var other *otherError
		if errors.As(err, &other) && !other.valid {
			r.Terminal.Infof("%s: it disappeared during the run", r.store.Path(base))
			return nil
		}
		return err
	}
	r.Terminal.Infof("%s: finished the repair that an earlier run began", r.store.Path(base))
	return r.addFinished(now[0], g)
}

// keysError returns the error of a repaired path that is not signed by the keys which the user named.
func (r *repairRun) keysError(g *staged) error {
	switch path := r.store.Path(g.Base); {
	case !r.ownKeys:
		return nil
	case g.replaced:
		return fmt.Errorf("%s: it was repaired, and is not signed: Nix did not take it from a cache", path)
	case g.Keys != publicKeys(r.options.SecretKeys):
		return fmt.Errorf("%s: it was repaired, and is not signed by the key of this run: an earlier run had begun with another one", path)
	}
	return nil
}

// addFinished reports a path whose repair an earlier run had begun.
func (r *repairRun) addFinished(p nixcli.Path, g *staged) error {
	r.count.Add(1)
	f := &pathFound{Path: p, status: finished}
	if err := r.keysError(g); err != nil {
		r.fail(err)
		f.errs = []error{err}
	}
	r.rep.add(r.run, f)
	return r.announce(p.Base)
}

// announce prints a replaced path.
func (r *repairRun) announce(base string) error {
	if _, err := fmt.Fprintln(r.out, r.store.Path(base)); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	return nil
}
