package storecmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"narseal/cmd/narseal/internal/atomicfile"
	"narseal/cmd/narseal/internal/nixcli"
	"narseal/cmd/narseal/internal/report"
	"narseal/nar/storepath"
)

// A run with --state leaves a note beside Nix's database, so that runs without it know where incomplete repairs are. A
// user of the daemon cannot write there.

// notePath returns the file of the note: a JSON list of state directories. narseal.lock protects it.
func notePath(s *nixcli.Store) string { return filepath.Join(s.StateDir, "narseal.states") }

// maxNote is the maximum size of the note, in bytes.
const maxNote = 1 << 20

// noted returns the state directories in the note.
func noted(s *nixcli.Store) (dirs []string) {
	f, err := os.OpenFile(notePath(s), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	if json.NewDecoder(io.LimitReader(f, maxNote)).Decode(&dirs) != nil {
		return nil
	}
	return slices.DeleteFunc(dirs, func(dir string) bool { return !filepath.IsAbs(dir) })
}

// note writes the note: all state directories with staged paths, and the one in use, if it is not the default.
func note(s *nixcli.Store, used string) error {
	before := noted(s)
	var dirs []string
	for _, dir := range append(slices.Clone(before), used) {
		staged, err := waiting(dir, s)
		unknown := err != nil && !errors.Is(err, fs.ErrNotExist)
		if dir != "" && !isDefault(dir, s) && (dir == used || unknown || len(staged) > 0 || len(others(dir, s)) > 0) && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	if slices.Equal(dirs, before) {
		return nil
	}
	if len(dirs) == 0 {
		return os.Remove(notePath(s))
	}
	text, err := json.Marshal(dirs)
	if err != nil {
		return err
	}
	f, err := atomicfile.Replace(nil, notePath(s), 0o644) // a stopped run writes it, too
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(append(text, '\n')); err != nil {
		return err
	}
	return f.Commit()
}

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

// incomplete returns the paths for which a run has staged replacements, and the command that finishes each. It leaves out
// the state directory used, as that of this run.
func incomplete(s *nixcli.Store, used string, warn func(error)) map[string]string {
	commands := map[string]string{}
	own, err := stateDir("", s)
	if err != nil {
		own = ""
	}
	dirs := append(noted(s), own, filepath.Join(s.StateDir, "narseal"))
	for _, dir := range slices.Compact(slices.Sorted(slices.Values(append(dirs, used)))) {
		if dir != "" {
			warnOthers(dir, s, warn)
		}
	}
	for _, dir := range dirs {
		if dir == "" || dir == used || isDefault(dir, s) && isDefault(used, s) {
			continue
		}
		command := "narseal store repair"
		if dir != own && isDefault(dir, s) {
			command = "sudo env NIX_REMOTE= " + command
		} else if dir != own {
			command += " --state " + report.Quote(dir)
		}
		staged, err := waiting(dir, s)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			warn(fmt.Errorf("the state of an earlier run cannot be read, so it is not known whether its repairs are complete: %w", err))
		}
		for base := range staged {
			commands[base] = command
		}
	}
	return commands
}

// others returns the staging directories of other stores in a state directory that have staged a path which this store has,
// too, and that path. It may be the same store, whose database had another name during that run, as in a container.
func others(dir string, s *nixcli.Store) map[string]string {
	found := map[string]string{}
	own := stagingDir(dir, s)
	stores, _ := os.ReadDir(dir)
	for _, store := range stores {
		other := filepath.Join(dir, store.Name())
		if !strings.HasPrefix(store.Name(), "store-") || other == own {
			continue
		}
		list, _ := os.ReadDir(other)
		for _, e := range list {
			if base := e.Name(); e.IsDir() && storepath.CheckBaseName(base) == nil && !s.IsGone(base) {
				found[other] = base
				break
			}
		}
	}
	return found
}

func warnOthers(dir string, s *nixcli.Store, warn func(error)) {
	for other, base := range others(dir, s) {
		warn(fmt.Errorf("%s: perhaps its repair is not complete: %s has staged it for a store with another database. If that is "+
			"this one, narseal store repair finishes it with the NIX_STATE_DIR of that run", s.Path(base), other))
	}
}

// incompleteError is the error of a path that another run, which is at work or was killed, has not completed.
func incompleteError(s *nixcli.Store, base, command string) error {
	return fmt.Errorf("%s: its repair is not complete; unless another run is working on it, %s finishes it", s.Path(base), command)
}
