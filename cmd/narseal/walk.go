package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// found is a name that a walk came by.
type found struct {
	path  string // as the user would write it
	real  string // without symlinks in the way
	inner string // from the root of the walk: "/", "/bin", "/bin/sh"
	entry fs.DirEntry
}

// depth is the number of folders of the walk around the name.
func (f *found) depth() int {
	if f.inner == "/" {
		return 0
	}
	return strings.Count(f.inner, "/")
}

// walk calls each for path and, if it is a folder, all that lies under it, in
// the order of an archive. It follows path itself where that is a symlink,
// and no symlink else. What cannot be read is told to failed, and left out;
// an error of each ends the walk.
func walk(path string, each func(found) error, failed func(error)) error {
	root, err := filepath.EvalSymlinks(path)
	if err != nil {
		failed(err)
		return nil
	}
	return filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			failed(err)
			return nil
		}
		inner := "/"
		shown := path
		if name != root {
			rel := name
			if root != "." { // whose names come without it
				rel = strings.TrimPrefix(name[len(root):], string(os.PathSeparator))
			}
			inner += filepath.ToSlash(rel)
			shown = filepath.Join(path, rel)
		}
		return each(found{shown, name, inner, entry})
	})
}
