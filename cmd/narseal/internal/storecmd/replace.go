package storecmd

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"

	"narseal/cmd/narseal/internal/nixcli"
)

// replace replaces a path with the staged contents, and makes Nix register them. Until then, the database has the old
// hash. The staged files stay, so that the next run can complete it.
//
// In the meantime, no other Nix works on this path or collects garbage: see holdPath.
func (r *repairRun) replace(ctx context.Context, g *staged) error {
	release, err := r.reserveFor(ctx, g, true)
	if err != nil {
		return err
	}
	defer release()
	held, err := r.holdPath(ctx, g.Base)
	if err != nil {
		return fmt.Errorf("replace: %w", err)
	}
	defer held.release()
	ctx = context.WithoutCancel(ctx)
	if err := r.isAsStaged(ctx, g); err != nil {
		return err
	}
	nar, err := g.openNAR()
	if err != nil {
		return err
	}
	defer nar.Close()
	info, err := nar.Stat()
	if err != nil {
		return err
	}
	locks := append(r.locks(), held.path)
	err = swapIn(r.store.RealDir, g.Base, func(to string) error { return r.store.Restore(ctx, nar, to, locks) }, func(made string) error {
		return r.checkTree(ctx, made, g.NewHash)
	})
	var left *leftError
	if errors.As(err, &left) {
		r.Terminal.Warnf("%v", left)
		err = nil
	}
	if err != nil {
		return fmt.Errorf("replace: %w", err)
	}
	p := &nixcli.Path{Base: g.Base, Deriver: g.Deriver, References: g.References, NarSize: info.Size()}
	if err := r.store.Register(ctx, p, strings.TrimPrefix(g.NewHash, "sha256:"), locks); err != nil {
		return err
	}
	g.replaced = true
	return r.check(ctx, g)
}

// checkTree returns an error unless the archive of a file or directory has this hash.
func (r *repairRun) checkTree(ctx context.Context, path, want string) error {
	archive, err := r.store.DumpFile(ctx, path)
	if err != nil {
		return err
	}
	sum := sha256.New()
	_, err = io.Copy(sum, archive)
	if err = errors.Join(err, archive.Close()); err != nil {
		return err
	}
	if got := hashText([sha256.Size]byte(sum.Sum(nil))); got != want {
		return fmt.Errorf("the new contents have the hash %s before they are in their place, want %s: did somebody change %s?", got, want, path)
	}
	return nil
}
