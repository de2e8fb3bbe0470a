package nartest

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Tool returns the path of a program: of name, or else of the first of the others that is on PATH. If none is, it skips the
// test, or fails it if the environment has NARSEAL_REQUIRE_TOOLS=1.
func Tool(t testing.TB, name string, others ...string) string {
	t.Helper()
	var firstErr error
	for _, n := range append([]string{name}, others...) {
		path, err := exec.LookPath(n)
		if err == nil {
			return path
		}
		if firstErr == nil {
			firstErr = err
		}
	}
	if os.Getenv("NARSEAL_REQUIRE_TOOLS") == "1" {
		t.Fatalf("needs %s: %v", name, firstErr)
	}
	t.Skipf("needs %s: %v", name, firstErr)
	return ""
}

// A Store is a temporary Nix store for one test. Its paths are named /nix/store/… and lie in a temporary directory. It needs
// no daemon, no build users and no privileges.
type Store struct {
	// Root is the directory that store paths are relative to, instead of /.
	Root string

	// Env is the complete environment of Nix's programs for this store. It enables the nix command, flakes and
	// content-addressed derivations.
	Env []string

	t testing.TB
}

// Nix returns a new, empty store. It needs nix-store on PATH (see [Tool]).
func Nix(t testing.TB) *Store {
	t.Helper()
	Tool(t, "nix-store")
	dir := t.TempDir()
	// Nix leaves read-only directories, which only root could remove.
	t.Cleanup(func() { makeWritable(t, dir) })
	s := &Store{Root: filepath.Join(dir, "root"), t: t}
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if name == "HOME" || strings.HasPrefix(name, "NIX_") || strings.HasPrefix(name, "XDG_") {
			continue
		}
		s.Env = append(s.Env, kv)
	}
	s.Env = append(s.Env,
		"HOME="+filepath.Join(dir, "home"),
		"NIX_CONF_DIR="+filepath.Join(dir, "etc"), // ignore the machine's nix.conf
		"NIX_REMOTE=local?root="+s.Root,
		"NIX_CONFIG="+strings.Join([]string{
			"build-users-group =", // let root build as root: there may be no nixbld group
			"experimental-features = nix-command flakes ca-derivations",
			"substituters =", // no network
		}, "\n"),
	)
	if err := os.Mkdir(filepath.Join(dir, "home"), 0o755); err != nil {
		t.Fatal(err)
	}
	return s
}

// Run runs one of Nix's programs on the store, with this input, and returns its stdout. It fails the test if the program
// fails.
func (s *Store) Run(stdin []byte, name string, args ...string) []byte {
	s.t.Helper()
	out, err := s.Try(stdin, name, args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// Try is [Store.Run] for a program that may fail. The error includes the program's stderr.
func (s *Store) Try(stdin []byte, name string, args ...string) ([]byte, error) {
	s.t.Helper()
	cmd := exec.Command(Tool(s.t, name), args...)
	cmd.Env = s.Env
	return output(cmd, stdin)
}

// Add adds a file or directory to the store and returns its store path. The path's name is the base name of what was
// added.
func (s *Store) Add(path string) string {
	s.t.Helper()
	return strings.TrimSpace(string(s.Run(nil, "nix-store", "--add", path)))
}

// Real returns the file name of a store path on this machine.
func (s *Store) Real(storePath string) string {
	return filepath.Join(s.Root, storePath)
}

// Dump returns the archive that nix-store makes of a file or directory.
func Dump(t testing.TB, path string) []byte {
	t.Helper()
	out, err := output(exec.Command(Tool(t, "nix-store"), "--dump", path), nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Restore unpacks an archive with nix-store and returns the path of the result. It fails the test if nix-store refuses the
// archive.
func Restore(t testing.TB, nar []byte) string {
	t.Helper()
	path, err := TryRestore(t, nar)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TryRestore is [Restore] for an archive that nix-store may refuse.
func TryRestore(t testing.TB, nar []byte) (string, error) {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() { makeWritable(t, dir) })
	path := filepath.Join(dir, "restored")
	_, err := output(exec.Command(Tool(t, "nix-store"), "--restore", path), nar)
	return path, err
}

// output runs a command and returns its stdout. The error includes its stderr.
func output(cmd *exec.Cmd, stdin []byte) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.Bytes(), &commandError{cmd.String(), strings.TrimSpace(stderr.String()), err}
	}
	return stdout.Bytes(), nil
}

type commandError struct {
	command, stderr string
	err             error
}

func (e *commandError) Error() string {
	return e.command + ": " + e.err.Error() + ": " + e.stderr
}

func (e *commandError) Unwrap() error { return e.err }

// makeWritable makes everything in dir removable by its owner.
func makeWritable(t testing.TB, dir string) {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.Chmod(path, 0o755)
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("make %s writable: %v", dir, err)
	}
}
