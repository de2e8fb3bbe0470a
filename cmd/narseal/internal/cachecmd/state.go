package cachecmd

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"narseal/cmd/narseal/internal/cachestore"
	"narseal/cmd/narseal/internal/command"
	"narseal/nar/binarycache/state"
)

// openState opens the state of earlier runs of this work, and returns its directory, too. Each shard has its own state.
// If the user's default directory cannot be written, as in a build, openState returns nil, unless the state is needed
// or dir was named.
func openState(e *command.Env, dir string, cache *cachestore.Cache, shard, work string, needed bool) (s *state.State, in string, err error) {
	id, err := cache.ID()
	if err != nil {
		return nil, "", err
	}
	if shard != "" {
		id += " shard " + shard
	}
	needed = needed || dir != ""
	if dir == "" {
		dir, err = stateDir()
	}
	if err == nil {
		s, err = state.Open(dir, id, work)
	}
	if err == nil {
		return s, dir, nil
	}
	if !needed && (errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, errNoHome)) {
		e.Terminal.Infof("this run keeps no state: %v", err)
		return nil, "", nil
	}
	return nil, "", err
}

var errNoHome = errors.New("neither XDG_STATE_HOME nor HOME is set: name a directory by --state")

// stateDir returns the default directory for state.
func stateDir() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "narseal"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", errNoHome
	}
	return filepath.Join(home, ".local", "state", "narseal"), nil
}
