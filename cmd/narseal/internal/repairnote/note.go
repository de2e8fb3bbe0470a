// Package repairnote keeps a file beside Nix's database with what a run of store repair is about to replace, and where it has
// staged the new contents. So later runs know which paths may be incomplete, even if the state directory is gone or on a file
// system that is not mounted. A run through the daemon cannot write there.
//
// narseal.lock protects the file.
package repairnote

import (
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
	"narseal/cmd/narseal/internal/terminal"
	"narseal/nar/storepath"
)

// A Note is the file, open in a run. A nil Note notes nothing.
type Note struct {
	name string
	used string // as in Dir

	mu   sync.Mutex
	dirs []Dir
}

// Dir is the part of a state directory.
type Dir struct {
	Dir   string   `json:"dir"`             // empty: the one beside the note
	Paths []string `json:"paths,omitempty"` // base names of paths whose replacement has begun
}

// maxNote is the maximum size of the note, in bytes.
const maxNote = 1 << 20

// Path returns the name of the note. The directory beside is the one that Nix's database is in, too.
func Path(beside string) string { return filepath.Join(beside, "narseal.states") }

// Read returns what the note has, if there is one.
func Read(beside string) (dirs []Dir, err error) {
	name := Path(beside)
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, unclear(name, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxNote+1))
	if err == nil && len(text) > maxNote {
		err = fmt.Errorf("more than %d bytes", maxNote)
	}
	if err == nil {
		err = parse(text, &dirs)
	}
	if err != nil {
		return nil, unclear(name, err)
	}
	return dirs, nil
}

func parse(text []byte, dirs *[]Dir) error {
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

// unclear returns the error of a note that is there and cannot be used.
func unclear(name string, err error) error {
	var failed *fs.PathError
	if errors.As(err, &failed) {
		err = failed.Err
	}
	return terminal.Hint(fmt.Errorf("%s: it is not known which repairs are not complete: %w", name, err),
		"nix-store --verify --check-contents finds the paths whose contents do not match Nix's database. If there are none, remove "+name)
}

// Open reads the note for a run with the state directory used, and adds that directory. used is empty for the one beside the
// note, which is found without it.
func Open(beside, used string) (*Note, error) {
	dirs, err := Read(beside)
	if err != nil {
		return nil, err
	}
	n := &Note{name: Path(beside), used: used, dirs: dirs}
	if used == "" || n.find() != nil {
		return n, nil
	}
	n.dirs = append(n.dirs, Dir{Dir: used})
	return n, n.write()
}

// find returns the part of the state directory of the run.
func (n *Note) find() *Dir {
	i := slices.IndexFunc(n.dirs, func(d Dir) bool { return d.Dir == n.used })
	if i < 0 {
		return nil
	}
	return &n.dirs[i]
}

// Add notes a path that is going to be replaced. If it returns an error, the path must stay as it is.
func (n *Note) Add(base string) error {
	if n == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	d := n.find()
	if d == nil {
		n.dirs = append(n.dirs, Dir{Dir: n.used})
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

// Drop removes a path that is complete. The file has it until something else is written.
func (n *Note) Drop(base string) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if d := n.find(); d != nil {
		d.Paths = slices.DeleteFunc(d.Paths, func(p string) bool { return p == base })
	}
}

// Close removes what is complete: damaged returns the paths that are not, and isUsed whether a state directory has staged paths.
func (n *Note) Close(damaged func([]string) []string, isUsed func(dir string) bool) error {
	if n == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range n.dirs {
		n.dirs[i].Paths = damaged(n.dirs[i].Paths)
	}
	n.dirs = slices.DeleteFunc(n.dirs, func(d Dir) bool {
		return len(d.Paths) == 0 && (d.Dir == "" || !isUsed(d.Dir))
	})
	return n.write()
}

// write writes the file, or removes it if there is nothing to note. All users can read it, whatever the umask is.
func (n *Note) write() error {
	if len(n.dirs) == 0 {
		if err := os.Remove(n.name); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	text, err := json.Marshal(n.dirs)
	if err != nil {
		return err
	}
	if len(text) >= maxNote {
		return fmt.Errorf("%s: too many repairs are not complete: their list takes %d bytes, want less than %d", n.name, len(text), maxNote)
	}
	f, err := atomicfile.Replace(nil, n.name, 0o644) // a stopped run writes it, too
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
