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

// apply replaces a path with its staged contents. When Nix's database and the contents agree, it removes the staged
// files.
func (r *repairRun) apply(ctx context.Context, g *staged) error {
	ways := []func(context.Context, *staged) error{r.takeFromCache}
	// Nix cannot register a path whose location on disk differs from its name.
	if r.access == nixcli.Direct && r.store.RealDir == r.store.Dir {
		ways = append(ways, r.replace)
		if r.essential[g.Base] {
			ways = ways[1:] // Nix would remove a path that it needs itself
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
			err = terminal.Hint(err, "Nix needs this path itself: put a Nix that is not in this store first on PATH, and run narseal store repair again")
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
	if err := r.checkSpace(g); err != nil {
		return err
	}
	return r.store.Repair(ctx, r.access, g.Base, g.cache(), r.locks())
}

// spaceMargin is the minimum free space to require besides the size of the archive, in bytes.
const spaceMargin = 4 << 20

// checkSpace returns an error if a path's new contents may not fit into the store. Nix removes the old contents first,
// so that a failure would leave nothing.
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

// findEssential finds the paths that Nix or this program need to start. These are replaced in one step, so that the
// next run can continue if this one is killed.
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
			continue // not in this store
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

// check returns an error unless a path has the staged contents and Nix's database has their hash.
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

// replace itself replaces a path with the staged contents, and then makes Nix register them. In between, the database
// has the old hash. The staged files are kept until then, so that the next run can continue.
//
// Nix's garbage collector is kept from running in the meantime: it would treat the new tree as garbage and delete files
// in it.
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
		r.fail(fmt.Errorf("%s: it was repaired but not signed: Nix did not accept it from a cache", r.store.Path(g.Base)))
	}
	return nil
}

// holdCollector waits until Nix's garbage collector is not running, and keeps it from running until the returned file
// is closed. The collector holds this lock exclusively (LocalStore::collectGarbage in src/libstore/gc.cc of Nix).
func (r *repairRun) holdCollector(ctx context.Context) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(r.store.StateDir, "gc.lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	err = waitLock(ctx, lock, unix.LOCK_SH, func() { r.Terminal.Warnf("waiting for Nix's garbage collection to finish") })
	if err != nil {
		lock.Close()
		return nil, err
	}
	return lock, nil
}

// checkTree returns an error unless the NAR of a file or directory has this hash.
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
		return fmt.Errorf("the new contents have the hash %s, want %s: did somebody change %s?", got, want, path)
	}
	return nil
}
