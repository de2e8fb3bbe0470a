package main

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// folders makes folders writable for as long as files in them are replaced,
// such as those of a Nix store, and gives them their mode back.
type folders struct {
	exits *exits
	mu    sync.Mutex
	open  map[string]*folder
}

type folder struct {
	users   int
	restore func() error
}

// enter makes dir writable for the owner if it is not writable. The function
// that it returns ends that when the last of those who entered has called it.
func (s *folders) enter(dir string) (leave func() error, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.open[dir]
	if f == nil {
		if f, err = s.unlock(dir); err != nil {
			return nil, err
		}
		if s.open == nil {
			s.open = map[string]*folder{}
		}
		s.open[dir] = f
	}
	f.users++
	return func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if f.users--; f.users > 0 {
			return nil
		}
		delete(s.open, dir)
		return f.restore()
	}, nil
}

func (s *folders) unlock(dir string) (*folder, error) {
	// What else than the mode may be in the way, the write will tell.
	if unix.Access(dir, unix.W_OK|unix.X_OK) != unix.EACCES {
		return &folder{restore: func() error { return nil }}, nil
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return nil, fmt.Errorf("stat %s: %w", dir, err)
	}
	mode := uint32(st.Mode) & 0o7777
	chmod := func(mode uint32) error {
		if err := unix.Chmod(dir, mode); err != nil {
			return fmt.Errorf("chmod %#o %s: %w", mode, dir, err)
		}
		return nil
	}
	release, err := s.exits.hold(func() (undo func(), err error) {
		return func() { _ = chmod(mode) }, chmod(mode | 0o300)
	})
	if err != nil {
		return nil, err
	}
	return &folder{restore: func() error {
		return release(func() error { return chmod(mode) })
	}}, nil
}
