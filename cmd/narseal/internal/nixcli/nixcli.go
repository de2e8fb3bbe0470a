// Package nixcli runs Nix's commands on the store of this machine, and parses their output.
//
// It uses the program nix-store, whose options and output have been the same since Nix 2.0. If only the program nix is
// installed, it runs that under the name nix-store, as Nix's own symlink does. Output is streamed and limited in size.
package nixcli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"narseal/nar/storepath"
)

// A Store is a Nix store on this machine, and the Nix that manages it.
type Store struct {
	// Dir is the store directory as written in store paths.
	Dir string
	// RealDir is the store directory on this machine. It differs from Dir if NIX_REMOTE sets a root.
	RealDir string
	// StateDir is the directory of Nix's state, with the database in db.
	StateDir string

	remote  string   // how Nix opens the store: "local" or "daemon"
	program string   // the file of nix-store, or of nix
	env     []string // the environment of Nix's commands
}

// Options select the store to open.
type Options struct {
	// Dir is the store directory; empty: NIX_STORE_DIR, or else /nix/store. For another directory, the database is in
	// ../var/nix, unless NIX_STATE_DIR is set.
	Dir string
	// Environ is the environment of Nix's commands, in the form of os.Environ.
	Environ []string
}

// Open finds the store and the Nix that manages it. It does not open the database.
func Open(ctx context.Context, o Options) (*Store, error) {
	env := environment(o.Environ)
	s := &Store{Dir: storepath.DefaultDir, StateDir: defaultStateDir}
	if dir := env["NIX_STORE_DIR"]; dir != "" {
		s.Dir = dir
	} else if dir := env["NIX_STORE"]; dir != "" {
		s.Dir = dir
	}
	if o.Dir != "" {
		dir, err := filepath.Abs(o.Dir)
		if err != nil {
			return nil, err
		}
		s.Dir = dir
	}
	s.Dir = filepath.Clean(s.Dir)
	if err := storepath.CheckDir(s.Dir); err != nil {
		return nil, err
	}
	s.env = o.Environ
	if s.Dir != storepath.DefaultDir {
		s.env = append(s.env[:len(s.env):len(s.env)], "NIX_STORE_DIR="+s.Dir)
	}
	s.RealDir = s.Dir
	if dir := env["NIX_STATE_DIR"]; dir != "" {
		s.StateDir = filepath.Clean(dir)
	} else if beside := besideStore(s.Dir); beside != s.StateDir && hasDatabase(beside) {
		s.StateDir = beside
		s.env = append(s.env[:len(s.env):len(s.env)], "NIX_STATE_DIR="+beside)
	}
	if err := s.setRemote(env["NIX_REMOTE"]); err != nil {
		return nil, err
	}
	return s, s.find(ctx)
}

// Program returns the file name of the Nix program.
func (s *Store) Program() string { return s.program }

const defaultStateDir = "/nix/var/nix"

// besideStore returns the state directory of a store in Nix's default layout.
func besideStore(dir string) string { return filepath.Join(filepath.Dir(dir), "var", "nix") }

func hasDatabase(stateDir string) bool {
	_, err := os.Stat(filepath.Join(stateDir, "db", "db.sqlite"))
	return err == nil
}

// environment returns a list of variables as a map. The last one of each name counts.
func environment(list []string) map[string]string {
	env := map[string]string{}
	for _, kv := range list {
		name, value, _ := strings.Cut(kv, "=")
		env[name] = value
	}
	return env
}

// setRemote interprets NIX_REMOTE like openStore in Nix's src/libstore/store-api.cc.
func (s *Store) setRemote(remote string) error {
	name, query, _ := strings.Cut(remote, "?")
	switch {
	case name == "" || name == "auto":
		if s.remote = "local"; !writable(s.StateDir) && exists(s.socket()) {
			s.remote = "daemon"
		}
	case name == "local":
		s.remote = "local"
	case name == "daemon" || strings.HasPrefix(name, "unix://"):
		s.remote = "daemon"
	case filepath.IsAbs(name) && query == "":
		s.remote, query = "local", "root="+url.QueryEscape(name)
	default:
		return fmt.Errorf("NIX_REMOTE is %s, which is not a store of this machine: unset it", remote)
	}
	if s.remote == "daemon" {
		return nil
	}
	parameters, err := url.ParseQuery(query)
	if err != nil {
		return fmt.Errorf("NIX_REMOTE %s: %w", remote, err)
	}
	if root := parameters.Get("root"); root != "" {
		// Whatever the store directory is called: LocalFSStoreConfig in Nix's src/libstore/local-fs-store.hh.
		s.RealDir, s.StateDir = filepath.Join(root, storepath.DefaultDir), filepath.Join(root, defaultStateDir)
	}
	if real := parameters.Get("real"); real != "" {
		s.RealDir = real
	}
	if state := parameters.Get("state"); state != "" {
		s.StateDir = state
	}
	return nil
}

func (s *Store) socket() string {
	if path := environment(s.env)["NIX_DAEMON_SOCKET_PATH"]; path != "" {
		return path
	}
	return filepath.Join(s.StateDir, "daemon-socket", "socket")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// find looks for Nix on PATH and in the directories of its installers.
func (s *Store) find(ctx context.Context) error {
	for _, name := range []string{"nix-store", "nix"} {
		for _, file := range []string{name, "/nix/var/nix/profiles/default/bin/" + name, "/run/current-system/sw/bin/" + name} {
			path, err := exec.LookPath(file)
			if err != nil {
				continue
			}
			s.program = path
			if name == "nix-store" {
				return nil
			}
			// A script called nix may ignore the name under which it is run.
			if out, err := s.output(ctx, "--version"); err == nil && strings.HasPrefix(string(out), "nix-store ") {
				return nil
			}
		}
	}
	return ErrNoNix
}

// ErrNoNix is the error of a machine without Nix. Open returns a Store with it, on which no command can be run.
var ErrNoNix = errors.New("neither nix-store nor nix is on PATH; narseal needs one of them to read and change the store")

// Bounds of what Nix's commands print, in bytes.
const (
	maxStderr = 16 << 10 // only the end is kept
	maxLine   = 16 << 10 // a store path, hash or number
	maxOutput = 16 << 20 // output that is read as a whole
)

// command returns a call of nix-store. The process has a group of its own, so that signals of the terminal do not
// interrupt it.
func (s *Store) command(ctx context.Context, args ...string) (*exec.Cmd, *tail) {
	cmd := exec.CommandContext(ctx, s.program, args...)
	cmd.Args[0] = "nix-store"
	cmd.Env = s.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // and its child processes
	stderr := &tail{limit: maxStderr}
	cmd.Stderr = stderr
	return cmd, stderr
}

// output runs nix-store and returns its output.
func (s *Store) output(ctx context.Context, args ...string) ([]byte, error) {
	var out []byte
	err := s.read(ctx, func(r io.Reader) error {
		var err error
		if out, err = io.ReadAll(io.LimitReader(r, maxOutput+1)); err == nil && len(out) > maxOutput {
			err = fmt.Errorf("it prints more than %d bytes", maxOutput)
		}
		return err
	}, args...)
	return out, err
}

// read runs nix-store and calls f with its output. If f returns an error, nix-store is killed.
func (s *Store) read(ctx context.Context, f func(io.Reader) error, args ...string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd, stderr := s.command(ctx, args...)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return commandError(args, stderr, err)
	}
	read := f(out)
	if read != nil {
		cancel()
	}
	err = cmd.Wait()
	switch {
	case read != nil && err == nil, read != nil && ctx.Err() != nil && stderr.String() == "":
		return commandError(args, stderr, read)
	case err != nil:
		return commandError(args, stderr, err)
	}
	return nil
}

// A CommandError is the error of a Nix command.
type CommandError struct {
	Command string // with its first arguments
	Stderr  string // the end of its messages
	Err     error
}

func (e *CommandError) Error() string {
	if e.Stderr == "" {
		return e.Command + ": " + e.Err.Error()
	}
	return e.Command + ": " + strings.TrimPrefix(e.Stderr, "error: ")
}

func (e *CommandError) Unwrap() error { return e.Err }

func commandError(args []string, stderr *tail, err error) error {
	shown := args
	if len(shown) > 2 {
		shown = shown[:2]
	}
	return &CommandError{"nix-store " + strings.Join(shown, " "), strings.TrimSpace(stderr.String()), err}
}

// tail keeps the end of what is written to it.
type tail struct {
	mu    sync.Mutex
	b     []byte
	limit int
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p[max(0, len(p)-t.limit):]...)
	if over := len(t.b) - t.limit; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.ToValidUTF8(t.b, []byte("�")))
}

// lines reads lines one at a time.
func lines(r io.Reader) *bufio.Scanner {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 0, 4096), maxLine)
	return sc
}

// isMissing reports whether err means that a file does not exist.
func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
