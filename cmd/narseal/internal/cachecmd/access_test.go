package cachecmd

import (
	"errors"
	"io/fs"
	"testing"

	"narseal/nar/binarycache/cachetest"
)

var errRefused = errors.Join(fs.ErrPermission, fs.ErrNotExist)

// A narinfo that this run has deleted says nothing about access, and one that is only missing does not either.
func TestAccessToDeleted(t *testing.T) {
	const name, other = "00000000000000000000000000000000.narinfo", "11111111111111111111111111111111.narinfo"
	for _, c := range []struct {
		name   string
		events func(*access)
		isOK   bool
	}{
		{"nothing", func(*access) {}, true},
		{"refused", func(a *access) { a.note(name, errRefused) }, false},
		{"missing", func(a *access) { a.note(name, fs.ErrNotExist) }, true},
		{"another object", func(a *access) { a.note("nar/x.nar", errRefused) }, true},
		{"gone since", func(a *access) { a.note(name, nil); a.note(other, errRefused) }, true},
		{"deleted", func(a *access) { a.note(name, nil); a.note(other, errRefused); a.deleted(name) }, true},
	} {
		a := &access{}
		c.events(a)
		if err := a.check(t.Context(), cachetest.NewMemory(nil)); (err == nil) != c.isOK {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
