package storecmd

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"narseal/cmd/narseal/internal/command"
	"narseal/cmd/narseal/internal/nixcli"
	"narseal/nar/storepath"
)

// bringBackNix looks for a Nix that a killed run was replacing, if there is no other: see oldPrefix. It returns err if
// there is none either.
func bringBackNix(ctx context.Context, e *command.Env, o *RepairOptions, err error) error {
	s, _ := o.open(ctx)
	if s == nil {
		return err
	}
	lock, lockErr := lockStore(ctx, s, func() { warnWaiting(e) })
	if lockErr != nil {
		return err // this user cannot have begun to replace it
	}
	defer lock.Close()
	if removeLeft(e, s) != nil {
		return err
	}
	return nil
}

// removeLeft removes the trees that a run which was killed has left in the store. A path that it had taken away gets its
// name back.
func removeLeft(e *command.Env, s *nixcli.Store) error {
	store, err := os.OpenRoot(s.RealDir)
	if err != nil {
		return err
	}
	defer store.Close()
	dir, err := store.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(namesAtOnce)
		for _, name := range names {
			if err := removeLeftName(store, dir, name); err != nil {
				e.Terminal.Warnf("%v", &leftError{filepath.Join(s.RealDir, name), err})
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func removeLeftName(store *os.Root, dir *os.File, name string) error {
	if base, ok := strings.CutPrefix(name, oldPrefix); ok && storepath.CheckBaseName(base) == nil {
		if _, err := store.Lstat(base); errors.Is(err, fs.ErrNotExist) {
			return unix.Renameat(int(dir.Fd()), name, int(dir.Fd()), base)
		}
		return removeTree(store, name)
	}
	if base, ok := strings.CutPrefix(name, leftPrefix); ok && storepath.CheckBaseName(base) == nil {
		return removeTree(store, name)
	}
	return nil
}
