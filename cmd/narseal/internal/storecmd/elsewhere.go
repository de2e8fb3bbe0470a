package storecmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"narseal/cmd/narseal/internal/nixcli"
	"narseal/cmd/narseal/internal/repairnote"
	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/nar/storepath"
)

// defaultDir returns the state directory beside Nix's database.
func defaultDir(s *nixcli.Store) string { return filepath.Join(s.StateDir, "narseal") }

// isDefault reports whether a state directory is the one beside Nix's database, whatever its name is.
func isDefault(dir string, s *nixcli.Store) bool {
	if filepath.Base(dir) != "narseal" {
		return false
	}
	around, err := os.Stat(filepath.Dir(dir))
	if err != nil {
		return false
	}
	state, err := os.Stat(s.StateDir)
	return err == nil && os.SameFile(around, state)
}

// findIncomplete returns the errors of paths that other runs have begun to repair, and not completed. It leaves out what is
// staged in the directory used, as that of this run.
func (r *run) findIncomplete(ctx context.Context, used string) map[string]error {
	s := r.store
	noted, err := repairnote.Read(s.StateDir)
	if err != nil {
		r.leaveOut(nixcli.Path{}, err)
	}
	own, err := stateDir("", s)
	if err != nil {
		own = ""
	}
	dirs := []repairnote.Dir{}
	add := func(dir string, paths []string) {
		if dir != "" && !slices.ContainsFunc(dirs, func(d repairnote.Dir) bool { return d.Dir == dir }) {
			dirs = append(dirs, repairnote.Dir{Dir: dir, Paths: paths})
		}
	}
	for _, d := range noted {
		if d.Dir == "" {
			d.Dir = defaultDir(s)
		}
		add(d.Dir, d.Paths)
	}
	add(defaultDir(s), nil)
	known := len(dirs) // of these, the note has all paths whose replacement has begun
	add(own, nil)
	add(used, nil)

	found := map[string]error{}
	for i, d := range dirs {
		r.warnOthers(d.Dir)
		staged, err := waiting(d.Dir, s)
		unreadable := err != nil && !errors.Is(err, fs.ErrNotExist)
		// What this user may not read is not of an earlier run of this user.
		if unreadable && i >= known && d.Dir != used && !errors.Is(err, fs.ErrPermission) {
			r.leaveOut(nixcli.Path{}, fmt.Errorf("state: it is not known whether the repairs of an earlier run are complete: %w", err))
		}
		command := finishingCommand(d.Dir, own, s)
		if d.Dir != used && !(isDefault(d.Dir, s) && isDefault(used, s)) {
			for base := range staged {
				found[base] = incompleteError(s, base, command)
			}
		}
		lost := damaged(ctx, s, slices.DeleteFunc(d.Paths, func(base string) bool { return staged[base] }))
		for _, base := range lost {
			switch {
			case found[base] != nil:
			case unreadable:
				found[base] = incompleteError(s, base, command)
			default:
				found[base] = lostError(s, base, d.Dir, command)
			}
		}
	}
	return found
}

// finishingCommand returns the command that finishes the repairs in a state directory. own is that of this user.
func finishingCommand(dir, own string, s *nixcli.Store) string {
	const command = "narseal store repair"
	switch {
	case dir == own:
		return command
	case isDefault(dir, s):
		return "sudo env NIX_REMOTE= " + command
	default:
		return command + " --state " + report.Quote(dir)
	}
}

// incompleteError is the error of a path that another run, which is at work or was killed, has not completed.
func incompleteError(s *nixcli.Store, base, command string) error {
	return fmt.Errorf("%s: its repair is not complete; unless another run is working on it, %s finishes it", s.Path(base), command)
}

// lostError is the error of a path that a run has not completed, and whose new contents are not where it staged them.
func lostError(s *nixcli.Store, base, dir, command string) error {
	path := s.Path(base)
	return terminal.Hint(
		fmt.Errorf("%s: its repair is not complete: its contents do not match Nix's database, and its new contents are not found in %s", path, dir),
		fmt.Sprintf("is the file system of %s mounted? With it, %s finishes the repair. Without it, nix-store --repair-path %s restores the path",
			dir, command, path))
}

// damaged returns those of some paths that are valid in Nix's database and do not have the contents that it says. Where Nix
// cannot tell, a path counts as damaged.
func damaged(ctx context.Context, s *nixcli.Store, bases []string) []string {
	invalid, err := s.Invalid(ctx, bases...)
	if err != nil {
		return bases
	}
	return slices.DeleteFunc(slices.Clone(bases), func(base string) bool {
		return slices.Contains(invalid, base) || s.VerifyPath(ctx, base) == nil
	})
}

// isUsed reports whether a state directory has staged paths, or may have some.
func isUsed(dir string, s *nixcli.Store) bool {
	staged, err := waiting(dir, s)
	if err != nil && !errors.Is(err, fs.ErrNotExist) || len(staged) > 0 {
		return true
	}
	used := false
	others(dir, s, func(string, string) { used = true })
	return used
}

// others calls found for the staging directories of other stores in a state directory that have staged a path which this
// store has, too, with that path. It may be the same store, whose database had another name during that run, as in a
// container.
func others(dir string, s *nixcli.Store, found func(other, base string)) {
	own := stagingDir(dir, s)
	_ = eachDir(dir, func(store string) bool {
		other := filepath.Join(dir, store)
		if !strings.HasPrefix(store, "store-") || other == own {
			return true
		}
		_ = eachDir(other, func(base string) bool {
			if storepath.CheckBaseName(base) != nil || s.IsGone(base) {
				return true
			}
			found(other, base)
			return false
		})
		return true
	})
}

// eachDir calls f for the names of the directories in a directory, until f returns false. It keeps only namesAtOnce of them.
func eachDir(dir string, f func(name string) bool) error {
	open, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer open.Close()
	for {
		list, err := open.ReadDir(namesAtOnce)
		for _, e := range list {
			if e.IsDir() && !f(e.Name()) {
				return nil
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

func (r *run) warnOthers(dir string) {
	others(dir, r.store, func(other, base string) {
		r.Terminal.Warnf("%s: perhaps its repair is not complete: %s has staged it for a store with another database. If that is "+
			"this one, narseal store repair finishes it with the NIX_STATE_DIR of that run", r.store.Path(base), other)
	})
}
