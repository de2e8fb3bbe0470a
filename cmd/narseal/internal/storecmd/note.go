package storecmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"narseal/cmd/narseal/internal/atomicfile"
	"narseal/cmd/narseal/internal/nixcli"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/nar/storepath"
)

// A note is a file beside Nix's database with what a run is about to replace, and where it has staged the new contents. So
// later runs know which paths may be incomplete, even if the state directory is gone or on a file system that is not mounted.
// A run through the daemon cannot write there.
//
// narseal.lock protects the file.
type note struct {
	store *nixcli.Store
	used  string // as in noteDir

	mu   sync.Mutex
	dirs []noteDir
}

// noteDir is the part of a state directory.
type noteDir struct {
	Dir   string   `json:"dir"`             // empty: the one beside the note
	Paths []string `json:"paths,omitempty"` // base names of paths whose replacement has begun
}

// maxNote is the maximum size of the note, in bytes.
const maxNote = 1 << 20

func notePath(s *nixcli.Store) string { return filepath.Join(s.StateDir, "narseal.states") }

// readNote returns what the note has, if there is one.
func readNote(s *nixcli.Store) (dirs []noteDir, err error) {
	f, err := os.OpenFile(notePath(s), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, noteError(s, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxNote+1))
	if err == nil && len(text) > maxNote {
		err = fmt.Errorf("more than %d bytes", maxNote)
	}
	if err == nil {
		err = parseNote(text, &dirs)
	}
	if err != nil {
		return nil, noteError(s, err)
	}
	return dirs, nil
}

func parseNote(text []byte, dirs *[]noteDir) error {
	if err := json.Unmarshal(text, dirs); err != nil {
		return fmt.Errorf("parse it: %w", err)
	}
	for _, d := range *dirs {
		if d.Dir != "" && !filepath.IsAbs(d.Dir) {
			return fmt.Errorf("parse it: %q is not an absolute path", d.Dir)
		}
		for _, base := range d.Paths {
			if err := storepath.CheckBaseName(base); err != nil {
				return fmt.Errorf("parse it: %w", err)
			}
		}
	}
	return nil
}

// noteError is the error of a note that is there and cannot be used.
func noteError(s *nixcli.Store, err error) error {
	var failed *fs.PathError
	if errors.As(err, &failed) {
		err = failed.Err
	}
	name := notePath(s)
	return terminal.Hint(fmt.Errorf("%s: it is not known which repairs are not complete: %w", name, err),
		"nix-store --verify --check-contents finds the paths whose contents do not match Nix's database. If there are none, remove "+name)
}

// openNote reads the note for a run with the state directory used, and adds that directory.
func openNote(s *nixcli.Store, used string) (*note, error) {
	dirs, err := readNote(s)
	if err != nil {
		return nil, err
	}
	n := &note{store: s, used: used, dirs: dirs}
	if isDefault(used, s) {
		n.used = ""
		return n, nil // it is found without a note
	}
	if n.find() != nil {
		return n, nil
	}
	n.dirs = append(n.dirs, noteDir{Dir: n.used})
	return n, n.write()
}

// find returns the part of the state directory of the run.
func (n *note) find() *noteDir {
	i := slices.IndexFunc(n.dirs, func(d noteDir) bool { return d.Dir == n.used })
	if i < 0 {
		return nil
	}
	return &n.dirs[i]
}

// add notes a path that is going to be replaced. If it returns an error, the path must stay as it is.
func (n *note) add(base string) error {
	if n == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	d := n.find()
	if d == nil {
		n.dirs = append(n.dirs, noteDir{Dir: n.used})
		d = n.find()
	}
	if slices.Contains(d.Paths, base) {
		return nil
	}
	d.Paths = append(d.Paths, base)
	if err := n.write(); err != nil {
		d.Paths = d.Paths[:len(d.Paths)-1]
		return fmt.Errorf("state: %w", err)
	}
	return nil
}

// drop removes a path that is complete. The file has it until something else is written.
func (n *note) drop(base string) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if d := n.find(); d != nil {
		d.Paths = slices.DeleteFunc(d.Paths, func(p string) bool { return p == base })
	}
}

// close leaves in the note only paths that are not complete, and state directories with staged paths.
func (n *note) close(ctx context.Context) error {
	if n == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range n.dirs {
		n.dirs[i].Paths = damaged(ctx, n.store, n.dirs[i].Paths)
	}
	n.dirs = slices.DeleteFunc(n.dirs, func(d noteDir) bool {
		return len(d.Paths) == 0 && (d.Dir == "" || !isUsed(d.Dir, n.store))
	})
	return n.write()
}

// write writes the file, or removes it if there is nothing to note. All users can read it, whatever the umask is.
func (n *note) write() error {
	name := notePath(n.store)
	if len(n.dirs) == 0 {
		if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	text, err := json.Marshal(n.dirs)
	if err != nil {
		return err
	}
	if len(text) >= maxNote {
		return fmt.Errorf("%s: too many repairs are not complete: their list takes %d bytes, want less than %d", name, len(text), maxNote)
	}
	f, err := atomicfile.Replace(nil, name, 0o644) // a stopped run writes it, too
	if err != nil {
		return err
	}
	defer f.Abort()
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if _, err := f.Write(append(text, '\n')); err != nil {
		return err
	}
	return f.Commit()
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
