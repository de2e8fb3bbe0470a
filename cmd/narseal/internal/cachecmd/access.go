package cachecmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/narinfo"
)

// access records whether a cache gives access to its narinfos. A response such as 403 Forbidden counts as that of a missing
// object, because S3 sends it without the right to list the bucket. But it is also what a server answers that does not accept
// the credentials, or no longer serves this client.
type access struct {
	mu      sync.Mutex
	read    string // the last narinfo that was read and not deleted
	anyRead bool
	refused int
	last    error // of those that were refused
}

// note records how opening an object ended.
func (a *access) note(name string, err error) {
	if a == nil || !narinfo.IsName(name) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case err == nil:
		a.read, a.anyRead = name, true
	case isRefused(err):
		a.refused++
		a.last = err
	}
}

// deleted records that this run deletes an object.
func (a *access) deleted(name string) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.read == name {
		a.read = ""
	}
}

func isRefused(err error) bool {
	return errors.Is(err, fs.ErrPermission) && errors.Is(err, fs.ErrNotExist)
}

// any reports whether a narinfo was refused.
func (a *access) any() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.refused > 0
}

// check returns an error if the narinfos that were refused may be there: if none could be read, or if one that was read is now
// refused, too.
func (a *access) check(ctx context.Context, s binarycache.Store) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.refused == 0 || a.anyRead && a.read == "":
		return nil
	case !a.anyRead:
		return fmt.Errorf("the cache gives access to no narinfo, and may have them: %w", a.last)
	}
	r, _, err := s.Open(ctx, a.read)
	if err == nil {
		return r.Close()
	}
	if isRefused(err) {
		return fmt.Errorf("the cache no longer gives access to what this run has read, so other paths may only seem to be missing: %w", err)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil // another program has deleted it
	}
	return err
}
