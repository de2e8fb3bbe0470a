package binarycache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
)

// stateFolder is where, in the cache, a run keeps what belongs to no reader: the
// lock, temporary files and journals. It goes away with the last of them.
const stateFolder = ".narseal"

// A Folder is a cache in a folder, as `nix copy --to file://FOLDER` makes it.
type Folder struct {
	root    string
	pending atomic.Int64
}

// NewFolder returns the cache in this folder. It looks at nothing yet.
func NewFolder(root string) *Folder { return &Folder{root: root} }

// path is where an object lies. Names come from narinfo files, too.
func (f *Folder) path(op, name string) (string, error) {
	if !fs.ValidPath(name) || !filepath.IsLocal(filepath.FromSlash(name)) {
		return "", &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	return filepath.Join(f.root, filepath.FromSlash(name)), nil
}

func (f *Folder) Open(_ context.Context, name string) (io.ReadCloser, error) {
	path, err := f.path("open", name)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return file, nil
}

func (f *Folder) Stat(_ context.Context, name string) (Object, error) {
	path, err := f.path("stat", name)
	if err != nil {
		return Object{}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return Object{}, err
	}
	if !info.Mode().IsRegular() {
		return Object{}, &fs.PathError{Op: "stat", Path: path, Err: errors.New("not a regular file")}
	}
	return Object{name, info.Size(), info.ModTime()}, nil
}

func (f *Folder) List(ctx context.Context, folder string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		entries, err := os.ReadDir(filepath.Join(f.root, filepath.FromSlash(folder)))
		if err != nil {
			yield(Object{}, err)
			return
		}
		for _, e := range entries {
			if err := ctx.Err(); err != nil {
				yield(Object{}, err)
				return
			}
			if e.IsDir() || strings.HasPrefix(e.Name(), ".") {
				continue
			}
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) { // gone since
				continue
			}
			if err != nil {
				yield(Object{}, err)
				return
			}
			name := e.Name()
			if folder != "" {
				name = folder + "/" + name
			}
			if !yield(Object{name, info.Size(), info.ModTime()}, nil) {
				return
			}
		}
	}
}

func (f *Folder) Delete(_ context.Context, name string) error {
	path, err := f.path("delete", name)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Create makes a file that goes away, too, when ctx is canceled.
func (f *Folder) Create(ctx context.Context) (Pending, error) {
	dir := filepath.Join(f.root, stateFolder)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	// Not os.CreateTemp, for a cache's files are for everybody's eyes.
	name := filepath.Join(dir, fmt.Sprintf("%s%d-%d", tempPrefix, os.Getpid(), f.pending.Add(1)))
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, err
	}
	p := &pendingFile{File: file, folder: f}
	p.keep = context.AfterFunc(ctx, func() { os.Remove(name) })
	return p, nil
}

const tempPrefix = "new-"

type pendingFile struct {
	*os.File
	folder *Folder
	keep   func() bool // from being removed; false if it is too late
	ended  bool
}

func (p *pendingFile) Commit(name string) error {
	path, err := p.folder.path("commit", name)
	if err != nil {
		return err
	}
	if err := p.Sync(); err != nil {
		return err
	}
	if err := p.Close(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	if !p.keep() {
		return context.Canceled
	}
	if err := os.Rename(p.Name(), path); err != nil {
		return err
	}
	p.ended = true
	return syncFolder(filepath.Dir(path))
}

func (p *pendingFile) Abort() {
	if p.ended {
		return
	}
	p.ended = true
	p.keep()
	p.Close()
	os.Remove(p.Name())
}

// syncFolder makes a rename durable.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Exclusive locks the cache against other runs and clears away what one that was
// killed has left. Readers, and nix, take no notice of it.
func (f *Folder) Exclusive() (string, func() error, error) {
	dir := filepath.Join(f.root, stateFolder)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return "", nil, err
	}
	name := filepath.Join(dir, "lock")
	lock, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return "", nil, err
	}
	if err := lockFile(lock); err != nil {
		lock.Close()
		return "", nil, fmt.Errorf("lock %s: another run works on this cache: %w", f.root, err)
	}
	release := func() error {
		left, err := os.ReadDir(dir)
		if err == nil && len(left) == 1 { // the lock alone
			err = errors.Join(os.Remove(name), os.Remove(dir))
		}
		return errors.Join(err, lock.Close())
	}
	left, err := filepath.Glob(filepath.Join(dir, tempPrefix+"*"))
	for _, l := range left {
		err = errors.Join(err, os.Remove(l))
	}
	if err != nil {
		return "", nil, errors.Join(err, lock.Close())
	}
	return dir, release, nil
}
