package nixcli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// Access says how the paths of a store can be changed.
type Access int

const (
	// Direct means that Nix opens the database itself.
	Direct Access = iota + 1
	// Daemon means that the Nix daemon repairs paths, for users that it trusts.
	Daemon
)

// An AccessError means that the user may not change the store.
type AccessError struct {
	Dir    string
	Reason string
	// Owner is the user who may, as sudo -u takes it, if the store is without a daemon and another user's.
	Owner string
}

func (e *AccessError) Error() string {
	return fmt.Sprintf("no right to repair paths of %s: %s", e.Dir, e.Reason)
}

// Access finds out how this user can change paths. It changes nothing.
func (s *Store) Access(ctx context.Context) (Access, error) {
	if !exists(s.StateDir) {
		return 0, fmt.Errorf("there is no Nix store with the database %s/db", s.StateDir)
	}
	if s.remote == "daemon" {
		// Without paths, this call does nothing, but the daemon refuses it to users that it does not trust.
		_, err := s.output(ctx, "--realise", "--repair")
		var failed *CommandError
		if errors.As(err, &failed) {
			return 0, &AccessError{Dir: s.Dir, Reason: "the Nix daemon refuses: " + strings.TrimPrefix(failed.Stderr, "error: ")}
		}
		return Daemon, err
	}
	for _, dir := range []string{s.StateDir, s.StateDir + "/db", s.RealDir} {
		// As root, Nix can itself remount a read-only store.
		if err := unix.Access(dir, unix.R_OK|unix.W_OK|unix.X_OK); err != nil && !(err == unix.EROFS && os.Geteuid() == 0) {
			return 0, &AccessError{Dir: s.Dir, Reason: fmt.Sprintf("%s cannot be written: %v", dir, err)}
		}
	}
	return Direct, s.checkOwner()
}

// checkOwner returns an error if Nix's database belongs to another user than this one. The paths that Nix replaces would
// belong to this user, and their owner could not remove them any more.
func (s *Store) checkOwner() error {
	var st unix.Stat_t
	db := s.StateDir + "/db"
	if err := unix.Stat(db, &st); err != nil {
		return &os.PathError{Op: "stat", Path: db, Err: err}
	}
	if int(st.Uid) == os.Geteuid() {
		return nil
	}
	return &AccessError{
		Dir: s.Dir, Owner: fmt.Sprintf("#%d", st.Uid),
		Reason: fmt.Sprintf("%s belongs to user %d, who could not remove what user %d repairs", db, st.Uid, os.Geteuid()),
	}
}

// writable reports whether Nix would open the database itself instead of connecting to the daemon.
func writable(dir string) bool { return unix.Access(dir, unix.R_OK|unix.W_OK) == nil }

// A Cache is a binary cache in a directory, and the keys to trust for it.
type Cache struct {
	Dir  string
	Keys string // public keys, separated by spaces
}

// ErrURL is the error of a cache whose directory cannot be passed to Nix as a URL.
var ErrURL = errors.New("the name of the directory has characters other than letters, digits and ._+/-")

// Repair makes Nix replace a valid path with the one in a cache. It waits until Nix has ended, even if ctx is canceled.
// Nix inherits the files in locks, so that the locks last as long as it runs.
func (s *Store) Repair(ctx context.Context, a Access, base string, from Cache, locks []*os.File) error {
	if strings.ContainsFunc(from.Dir, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._+/-", r))
	}) {
		return fmt.Errorf("%s: %w", from.Dir, ErrURL)
	}
	args := []string{"--repair-path", s.Path(base)}
	if a == Daemon {
		args = []string{"--realise", "--repair", s.Path(base)}
	}
	return s.change(ctx, nil, locks, append(args,
		"--option", "substituters", "file://"+from.Dir,
		"--option", "trusted-public-keys", from.Keys,
		"--option", "require-sigs", "true",
		"--option", "substitute", "true",
		// Nix must not build a path that the cache does not have.
		"--option", "max-jobs", "0", "--option", "builders", "", "--option", "build-hook", "")...)
}

// Register makes Nix register the path that is on disk, with this NAR hash, a SHA-256 in Nix's base 32, and the size
// p.NarSize. Nix sets modes, owners and times to the values that the store requires, but does not check the contents.
func (s *Store) Register(ctx context.Context, p *Path, hash string, locks []*os.File) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s\n%d\n", s.Path(p.Base), hash, p.NarSize)
	if p.Deriver != "" {
		b.WriteString(s.Path(p.Deriver))
	}
	fmt.Fprintf(&b, "\n%d\n", len(p.References))
	for _, ref := range p.References {
		fmt.Fprintln(&b, s.Path(ref))
	}
	return s.change(ctx, strings.NewReader(b.String()), locks, "--register-validity", "--reregister", "--hash-given")
}

// Restore makes Nix unpack an archive to the new path to.
func (s *Store) Restore(ctx context.Context, nar io.Reader, to string, locks []*os.File) error {
	return s.change(ctx, nar, locks, "--restore", to)
}

// VerifyPath makes Nix compare the contents of a path with its database, and returns an error if they differ.
func (s *Store) VerifyPath(ctx context.Context, base string) error {
	_, err := s.output(ctx, "--verify-path", s.Path(base))
	return err
}

// change runs a command that must not be interrupted.
func (s *Store) change(ctx context.Context, stdin io.Reader, locks []*os.File, args ...string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	cmd, stderr := s.command(context.WithoutCancel(ctx), args...)
	cmd.Stdin = stdin
	cmd.ExtraFiles = locks
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && stderr.String() == "" {
			err = fmt.Errorf("it %w", err)
		}
		return commandError(args, stderr, err)
	}
	return nil
}
