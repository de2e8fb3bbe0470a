package storecmd

import (
	"context"
	"errors"
	"fmt"
	"os"

	"narseal/cmd/narseal/internal/nixcli"
)

// apply has Nix take what is staged of a path, and forgets it when Nix's database and the contents agree.
func (r *repairRun) apply(ctx context.Context, g *staged) error {
	err := r.store.Repair(ctx, r.access, g.Base, g.cache(), r.staging.lock)
	if err == nil {
		err = r.check(ctx, g)
	}
	// Nix registers no path that is elsewhere than its name says.
	if err != nil && ctx.Err() == nil && r.access == nixcli.Direct && r.store.RealDir == r.store.Dir {
		r.Terminal.Infof("%s: Nix does not repair it (%v): replacing and registering it", r.store.Path(g.Base), err)
		second := r.replace(ctx, g)
		if second == nil {
			second = r.check(ctx, g)
		}
		if second != nil {
			second = fmt.Errorf("%w; then %w", err, second)
		}
		err = second
	}
	if err != nil {
		return fmt.Errorf("%w (the repaired contents are kept in %s; narseal store repair tries again)", err, g.dir)
	}
	// Nix's database is on disk by now, and the contents may not be: keep what is staged until they are.
	if err := syncAll(r.store.RealDir); err != nil {
		return err
	}
	return r.staging.remove(g.Base)
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

// replace puts the staged contents in the place of a path by itself, and has Nix register them. Until that is done, the
// database has the old hash; what is staged stays, so that the next run can do it.
func (r *repairRun) replace(ctx context.Context, g *staged) error {
	ctx = context.WithoutCancel(ctx)
	nar, err := os.Open(g.nar())
	if err != nil {
		return err
	}
	defer nar.Close()
	err = swapIn(r.store.RealDir, g.Base, func(to string) error { return r.store.Restore(ctx, nar, to) })
	if err != nil {
		return fmt.Errorf("replace: %w", err)
	}
	return r.store.Register(ctx, &nixcli.Path{Base: g.Base, Deriver: g.Deriver, References: g.References}, r.staging.lock)
}
