package nixcli

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
	"syscall"

	"narseal/nar/storepath"
)

// MaxArguments is the maximum number of paths for one command, well below any system's limit.
const MaxArguments = 256

// All calls each for every valid path of the store, without references and deriver, while Nix lists them. Nix sorts them by
// name.
func (s *Store) All(ctx context.Context, each func(*Path) error) error {
	return s.dump(ctx, func(p *Path) error {
		p.Deriver, p.References = "", nil
		return each(p)
	})
}

// Info returns the registration of valid paths, sorted by name.
func (s *Store) Info(ctx context.Context, bases ...string) ([]Path, error) {
	var all []Path
	for part := range slices.Chunk(bases, MaxArguments) {
		if err := s.dump(ctx, func(p *Path) error { all = append(all, *p); return nil }, s.paths(part)...); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, func(a, b Path) int { return strings.Compare(a.Base, b.Base) })
	return slices.CompactFunc(all, func(a, b Path) bool { return a.Base == b.Base }), nil
}

// Invalid returns those of bases that are not valid paths.
func (s *Store) Invalid(ctx context.Context, bases ...string) ([]string, error) {
	var invalid []string
	for part := range slices.Chunk(bases, MaxArguments) {
		found, err := s.list(ctx, append([]string{"--check-validity", "--print-invalid"}, s.paths(part)...)...)
		if err != nil {
			return nil, err
		}
		invalid = append(invalid, found...)
	}
	return invalid, nil
}

// Closure returns paths and everything that they refer to, directly or indirectly, sorted by name.
func (s *Store) Closure(ctx context.Context, bases ...string) ([]string, error) {
	var all []string
	for part := range slices.Chunk(bases, MaxArguments) {
		found, err := s.list(ctx, append([]string{"--query", "--requisites"}, s.paths(part)...)...)
		if err != nil {
			return nil, err
		}
		// The parts have much in common.
		all = append(all, found...)
		slices.Sort(all)
		all = slices.Compact(all)
	}
	return all, nil
}

// maxLinks is the maximum number of symlinks that Base follows.
const maxLinks = 40

// Base returns the base name of the store path that is or contains a file. Like Nix, it follows symlinks only until
// they lead into the store, since a store path may itself be a symlink.
func (s *Store) Base(file string) (string, error) {
	path, err := filepath.Abs(file)
	for range maxLinks {
		if err != nil {
			break
		}
		if base, ok := s.inStore(path); ok {
			if err := storepath.CheckBaseName(base); err != nil {
				return "", fmt.Errorf("%s: %s is not a store path: %w", file, path, err)
			}
			return base, nil
		}
		var dir, target string
		if dir, err = filepath.EvalSymlinks(filepath.Dir(path)); err != nil {
			break
		}
		if at := filepath.Join(dir, filepath.Base(path)); at != path {
			path = at
			continue
		}
		if target, err = os.Readlink(path); errors.Is(err, syscall.EINVAL) {
			return "", fmt.Errorf("%s: not in the store directory %s", file, s.Dir)
		}
		if path = target; !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
	}
	if err == nil {
		err = errors.New("too many symlinks")
	}
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return "", fmt.Errorf("%s: %w", file, err)
}

// inStore returns the first name of a path below the store directory.
func (s *Store) inStore(path string) (base string, ok bool) {
	for _, dir := range []string{s.Dir, s.RealDir, realOf(s.RealDir)} {
		if rest, ok := strings.CutPrefix(path, dir+"/"); ok {
			base, _, _ := strings.Cut(rest, "/")
			return base, true
		}
	}
	return "", false
}

// BaseOnDisk returns the base name of the store path in which a file really lies, when all symlinks are followed.
func (s *Store) BaseOnDisk(file string) (base string, ok bool) {
	rest, ok := strings.CutPrefix(realOf(file), strings.TrimSuffix(realOf(s.RealDir), "/")+"/")
	if !ok {
		return "", false
	}
	base, _, _ = strings.Cut(rest, "/")
	return base, storepath.CheckBaseName(base) == nil
}

func realOf(dir string) string {
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		return real
	}
	return dir
}

// Path returns the store path with a base name.
func (s *Store) Path(base string) string { return s.Dir + "/" + base }

// Real returns the location of a path on this machine.
func (s *Store) Real(base string) string { return filepath.Join(s.RealDir, base) }

func (s *Store) paths(bases []string) []string {
	paths := make([]string, len(bases))
	for i, b := range bases {
		paths[i] = s.Path(b)
	}
	return paths
}

// list runs a command that prints store paths.
func (s *Store) list(ctx context.Context, args ...string) (bases []string, err error) {
	err = s.read(ctx, func(r io.Reader) error {
		sc := lines(r)
		for sc.Scan() {
			base, err := storepath.BaseIn(s.Dir, sc.Text())
			if err != nil {
				return err
			}
			bases = append(bases, base)
		}
		return sc.Err()
	}, args...)
	return bases, err
}

// Dump returns a NAR of a path's present contents. Close returns an error if Nix could not read all of them.
func (s *Store) Dump(ctx context.Context, base string) (io.ReadCloser, error) {
	return s.DumpFile(ctx, s.Real(base))
}

// DumpFile returns a NAR of any file or directory, like Dump.
func (s *Store) DumpFile(ctx context.Context, path string) (io.ReadCloser, error) {
	args := []string{"--dump", path}
	ctx, cancel := context.WithCancel(ctx)
	cmd, stderr := s.command(ctx, args...)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, commandError(args, stderr, err)
	}
	return &dump{out, func() error {
		defer cancel()
		if _, err := out.Read(make([]byte, 1)); err != io.EOF {
			cancel() // the caller did not read everything
		}
		if err := cmd.Wait(); err != nil {
			return commandError(args, stderr, err)
		}
		return nil
	}}, nil
}

type dump struct {
	io.Reader
	close func() error
}

func (d *dump) Close() error { return d.close() }

// IsGone reports whether a path does not exist on disk.
func (s *Store) IsGone(base string) bool {
	_, err := os.Lstat(s.Real(base))
	return isMissing(err)
}
