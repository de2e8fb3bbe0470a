package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"github.com/urfave/cli/v2"
)

var outputFlag = &cli.StringFlag{
	Name:    "output",
	Aliases: []string{"o"},
	Usage:   "write to `FILE`, which appears only when complete; - is stdout, also where that is a terminal",
}

// output is where a command's archive goes.
type output struct {
	io.Writer
	// commit makes the output appear, after all of it was written.
	commit func() error
	// abort leaves things as they were. It does nothing after commit.
	abort func()
	info  fs.FileInfo // of what is written to; nil where that is unknown or new
}

// openOutput opens what -o names. An empty name is stdout unless that is a
// terminal.
func openOutput(ctx context.Context, name string, stdout io.Writer) (*output, error) {
	o, err := openTo(ctx, name, stdout)
	if err != nil {
		return nil, fmt.Errorf("output: %w", err)
	}
	commit := o.commit
	o.commit = func() error {
		if err := commit(); err != nil {
			return fmt.Errorf("output: %w", err)
		}
		return nil
	}
	return o, nil
}

// openTo is openOutput for whatever is written.
func openTo(ctx context.Context, name string, stdout io.Writer) (*output, error) {
	if name == "" || name == "-" {
		if name == "" && isTerminal(stdout) {
			return nil, badUsage("redirect it, name a file with -o FILE, or say -o - if this is what you want",
				"refusing to write an archive to a terminal")
		}
		o := &output{Writer: stdout, commit: func() error { return nil }, abort: func() {}}
		if f, ok := stdout.(*os.File); ok {
			o.info, _ = f.Stat()
			if o.info != nil && o.info.Mode().IsRegular() {
				o.commit = f.Close // the last moment at which some file systems tell of a failed write
			}
			enlargePipe(f)
			watchReader(f, exitsOf(ctx).readerGone)
		}
		return o, nil
	}
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, fmt.Errorf("%s is a directory", name)
	case !info.Mode().IsRegular():
		// A device or a FIFO cannot be replaced, only written.
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		enlargePipe(f)
		watchReader(f, exitsOf(ctx).readerGone)
		return &output{Writer: f, commit: f.Close, abort: func() { f.Close() }, info: info}, nil
	default:
		// Replace what a symlink points to, not the symlink.
		if name, err = filepath.EvalSymlinks(name); err != nil {
			return nil, err
		}
	}
	return newFile(ctx, name, info)
}

// newFile makes a file that takes name's place, and the permissions of what
// is there, when it is committed. Where the system has files without a name,
// nothing is left of it before that, however the program ends.
func newFile(ctx context.Context, name string, old fs.FileInfo) (*output, error) {
	perm := fs.FileMode(0o666)
	if old != nil {
		perm = old.Mode().Perm()
	}
	x := exitsOf(ctx)
	f, err := openUnnamed(filepath.Dir(name), perm)
	if errors.Is(err, errors.ErrUnsupported) {
		return newNamedFile(x, name, old)
	}
	if err != nil {
		return nil, err
	}
	if old != nil {
		// The umask does not count for a file that was there.
		if err := f.Chmod(perm); err != nil {
			f.Close()
			return nil, err
		}
	}
	return &output{
		Writer: f,
		commit: func() error {
			err := f.Sync()
			if err == nil {
				err = x.whole(func() error { return linkUnnamed(f, name) })
			}
			if err == nil {
				err = f.Close()
			}
			if err != nil {
				return err
			}
			return syncDir(filepath.Dir(name))
		},
		abort: func() { f.Close() },
		info:  old,
	}, nil
}

// newNamedFile is newFile by way of a hidden file beside name.
func newNamedFile(x *exits, name string, old fs.FileInfo) (*output, error) {
	var f *renameio.PendingFile
	release, err := x.hold(func() (undo func(), err error) {
		f, err = renameio.NewPendingFile(name, renameio.WithTempDir(filepath.Dir(name)),
			renameio.WithPermissions(0o666), renameio.WithExistingPermissions())
		return func() { f.Cleanup() }, err
	})
	if err != nil {
		return nil, err
	}
	return &output{
		Writer: f,
		commit: func() error {
			if err := release(f.CloseAtomicallyReplace); err != nil {
				f.Cleanup()
				return err
			}
			return syncDir(filepath.Dir(name))
		},
		abort: func() { release(f.Cleanup) },
		info:  old,
	}, nil
}

// syncDir makes a rename in dir last. Some file systems cannot, and then
// nobody can do more.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return nil // the file itself is in place
	}
	defer d.Close()
	_ = d.Sync()
	return nil
}

// sameFile tells whether reading one and writing the other would destroy
// data.
func sameFile(in, out fs.FileInfo) bool {
	return in != nil && out != nil && in.Mode().IsRegular() && os.SameFile(in, out)
}
