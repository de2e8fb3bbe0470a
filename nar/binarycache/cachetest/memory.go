package cachetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"narseal/nar/binarycache"
)

// A Memory is a store in memory. Like one behind a network it reads each object once only and knows its contents by a
// version.
type Memory struct {
	mu      sync.Mutex
	objects map[string]memoryObject
	puts    int
}

type memoryObject struct {
	binarycache.Object
	content []byte
}

// NewMemory returns a store with these objects.
func NewMemory(objects map[string]string) *Memory {
	m := &Memory{objects: map[string]memoryObject{}}
	for name, content := range objects {
		m.set(binarycache.Object{Name: name}, []byte(content))
	}
	return m
}

// Objects are the contents of the store, by name.
func (m *Memory) Objects() map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := map[string]string{}
	for name, o := range m.objects {
		all[name] = string(o.content)
	}
	return all
}

func (m *Memory) set(o binarycache.Object, content []byte) binarycache.Version {
	m.puts++
	o.Size, o.ModTime, o.Version = int64(len(content)), time.Now(), binarycache.Version(strconv.Itoa(m.puts))
	m.objects[o.Name] = memoryObject{o, content}
	return o.Version
}

func (m *Memory) get(op, name string) (memoryObject, error) {
	if !fs.ValidPath(name) || name == "." || strings.HasPrefix(name, ".") || strings.Contains(name, "/.") {
		return memoryObject{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	o, ok := m.objects[name]
	if !ok {
		return o, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	o.Attributes = maps.Clone(o.Attributes)
	return o, nil
}

// Open opens an object.
func (m *Memory) Open(_ context.Context, name string) (io.ReadCloser, binarycache.Object, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, err := m.get("open", name)
	return io.NopCloser(struct{ io.Reader }{bytes.NewReader(o.content)}), o.Object, err
}

// Stat describes an object.
func (m *Memory) Stat(_ context.Context, name string) (binarycache.Object, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, err := m.get("stat", name)
	return o.Object, err
}

// List goes through the objects of a directory, in the order of their names backwards.
func (m *Memory) List(ctx context.Context, dir string) iter.Seq2[binarycache.Object, error] {
	return func(yield func(binarycache.Object, error) bool) {
		m.mu.Lock()
		names := slices.Sorted(maps.Keys(m.objects))
		m.mu.Unlock()
		if dir == "" {
			dir = "."
		}
		for _, name := range slices.Backward(names) {
			if path.Dir(name) != dir {
				continue
			}
			o, err := m.Stat(ctx, name)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err == nil {
				err = ctx.Err()
			}
			if !yield(o, err) || err != nil {
				return
			}
		}
	}
}

// Put writes an object.
func (m *Memory) Put(ctx context.Context, o binarycache.Object, body io.ReadSeeker, c binarycache.Condition) (binarycache.Version, error) {
	content, err := io.ReadAll(io.LimitReader(body, o.Size+1))
	if err == nil && int64(len(content)) != o.Size {
		err = fmt.Errorf("put %s: got %d bytes or more, want %d", o.Name, len(content), o.Size)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.allows("put", o.Name, c); err != nil {
		return "", err
	}
	return m.set(o, content), nil
}

// Delete removes an object.
func (m *Memory) Delete(_ context.Context, name string, c binarycache.Condition) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.get("delete", name); err != nil {
		return err
	}
	if err := m.allows("delete", name, c); err != nil {
		return err
	}
	delete(m.objects, name)
	return nil
}

// allows says whether a condition is true.
func (m *Memory) allows(op, name string, c binarycache.Condition) error {
	o, err := m.get(op, name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && c.Version == "":
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return &fs.PathError{Op: op, Path: name, Err: binarycache.ErrChanged}
	case err != nil:
		return err
	case c.New:
		return &fs.PathError{Op: op, Path: name, Err: fs.ErrExist}
	case c.Version != "" && c.Version != o.Version:
		return &fs.PathError{Op: op, Path: name, Err: binarycache.ErrChanged}
	}
	return nil
}

// Write sets an object with its attributes, whatever it was.
func (m *Memory) Write(o binarycache.Object, content string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.set(o, []byte(content))
}
