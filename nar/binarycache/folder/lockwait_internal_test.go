package folder

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"narseal/nar/binarycache"
)

// Somebody who can read a directory and locks it delays one object, not each. Those are still replaced only if they have the
// expected version, and the lock is taken when it is free.
func TestHeldLock(t *testing.T) {
	dir := t.TempDir()
	s := New(dir)
	defer s.Close()
	put := func(text string, c binarycache.Condition) (binarycache.Version, error) {
		return s.Put(t.Context(), binarycache.Object{Name: "x", Size: int64(len(text))}, strings.NewReader(text), c)
	}
	v, err := put("0", binarycache.Condition{})
	if err != nil {
		t.Fatal(err)
	}
	holder, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	if err := unix.Flock(int(holder.Fd()), unix.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	pauses := 0
	s.wait.sleep = func(time.Duration) { pauses++ }
	for range 5 {
		if _, err := put("other", binarycache.Condition{Version: "1-2-3"}); err == nil {
			t.Error("no error for another version")
		}
		if v, err = put("text", binarycache.Condition{Version: v}); err != nil {
			t.Fatal(err)
		}
	}
	if pauses != lockTries {
		t.Errorf("%d pauses, want %d", pauses, lockTries)
	}
	s.wait.rest.Store(0) // it is over
	s.wait.sleep = func(time.Duration) {
		if pauses++; pauses == lockTries+3 {
			if err := unix.Flock(int(holder.Fd()), unix.LOCK_UN); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err = put("last", binarycache.Condition{Version: v}); err != nil || pauses != lockTries+3 {
		t.Errorf("%v after %d pauses", err, pauses)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "x")); string(b) != "last" {
		t.Errorf("got %q, %v", b, err)
	}
}
