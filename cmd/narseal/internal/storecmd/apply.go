package storecmd

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"narseal/cmd/narseal/internal/nixcli"
	"narseal/cmd/narseal/internal/terminal"
)

// apply has Nix take what is staged of a path, and forgets it when Nix's database and the contents agree.
func (r *repairRun) apply(ctx context.Context, g *staged) error {
	ways := []func(context.Context, *staged) error{r.takeFromCache}
	// Nix registers no path that is elsewhere than its name says.
	if r.access == nixcli.Direct && r.store.RealDir == r.store.Dir {
		ways = append(ways, r.replace)
		if r.essential[g.Base] {
			ways = ways[1:] // Nix would remove what it needs itself
		}
	}
	var err error
	for i, way := range ways {
		if i > 0 {
			r.Terminal.Infof("%s: Nix did not repair it, trying another way: %v", r.store.Path(g.Base), err)
		}
		this := way(ctx, g)
		if this == nil {
			this = r.check(ctx, g)
		}
		if this == nil || ctx.Err() != nil {
			err = this
			break
		}
		if err != nil {
			this = fmt.Errorf("%w; then %w", err, this)
		}
		err = this
	}
	if err != nil {
		err = fmt.Errorf("%w (the repaired contents are kept in %s; narseal store repair tries again)", err, g.dir)
		if r.essential[g.Base] {
			err = terminal.Hint(err, "Nix needs this path itself; with another Nix first on PATH, which is not of this store, narseal store repair can have it replaced")
		}
		return err
	}
	// Nix's database is on disk by now, and the contents may not be: keep what is staged until they are.
	if err := syncAll(r.store.RealDir); err != nil {
		return err
	}
	return r.staging.remove(g.Base)
}

// takeFromCache has Nix replace a path by the one that is staged as a cache. Nix removes the old contents first.
func (r *repairRun) takeFromCache(ctx context.Context, g *staged) error {
	if err := r.checkSpace(g); err != nil {
		return err
	}
	return r.store.Repair(ctx, r.access, g.Base, g.cache(), r.locks())
}

// spaceMargin is how much more space than that of an archive its contents may take, at least, in bytes.
const spaceMargin = 4 << 20

// checkSpace returns an error if a path's new contents may not fit into the store. Nix removes the old contents first, and
// would leave nothing.
func (r *repairRun) checkSpace(g *staged) error {
	info, err := os.Stat(g.nar())
	if err != nil {
		return err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(r.store.RealDir, &fs); err != nil {
		return &os.PathError{Op: "statfs", Path: r.store.RealDir, Err: err}
	}
	if free, want := int64(min(fs.Bavail, 1<<40)*min(uint64(fs.Bsize), 1<<20)), info.Size()+info.Size()/8+spaceMargin; free < want {
		return fmt.Errorf("the file system of %s has %d bytes free, want %d", r.store.RealDir, free, want)
	}
	return nil
}

// findEssential finds the paths without which Nix or this program do not start. These are replaced in one step: if the run
// is killed, the next one can still complete it.
func (r *repairRun) findEssential(ctx context.Context) error {
	programs := []string{r.store.Program()}
	if self, err := os.Executable(); err == nil {
		programs = append(programs, self)
	}
	r.essential = map[string]bool{}
	for _, program := range programs {
		real, err := filepath.EvalSymlinks(program)
		if err != nil {
			continue
		}
		base, err := r.store.Base(real)
		if err != nil {
			continue // not from this store
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
//
// Meanwhile no garbage is collected: the collector would take the new tree for garbage, and delete files of it.
func (r *repairRun) replace(ctx context.Context, g *staged) error {
	collector, err := r.holdCollector(ctx)
	if err != nil {
		return fmt.Errorf("replace: %w", err)
	}
	defer collector.Close()
	ctx = context.WithoutCancel(ctx)
	nar, err := os.Open(g.nar())
	if err != nil {
		return err
	}
	defer nar.Close()
	info, err := nar.Stat()
	if err != nil {
		return err
	}
	err = swapIn(r.store.RealDir, g.Base, func(to string) error { return r.store.Restore(ctx, nar, to, r.locks()) }, func(made string) error {
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
	if err := r.store.Register(ctx, p, strings.TrimPrefix(g.NewHash, "sha256:"), r.locks()); err != nil {
		return err
	}
	if r.ownKeys {
		r.fail(fmt.Errorf("%s: it was repaired, and is not signed: Nix did not take it from a cache", r.store.Path(g.Base)))
	}
	return nil
}

// holdCollector waits until Nix collects no garbage, and keeps it from beginning to, until the file is closed: Nix's
// collector holds this lock exclusively (LocalStore::collectGarbage in its src/libstore/gc.cc).
func (r *repairRun) holdCollector(ctx context.Context) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(r.store.StateDir, "gc.lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	err = waitLock(ctx, lock, unix.LOCK_SH, func() { r.Terminal.Warnf("waiting until Nix has collected its garbage") })
	if err != nil {
		lock.Close()
		return nil, err
	}
	return lock, nil
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
