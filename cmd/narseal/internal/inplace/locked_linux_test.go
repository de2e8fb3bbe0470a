package inplace

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"narseal/cmd/narseal/internal/scan"
	"narseal/macho/machotest"
)

// asOwner calls f with the rights that the owner of a file has, even if the test runs as root.
func asOwner(t *testing.T, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		var none [2]unix.CapUserData
		err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0])
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// A directory that stays writable is an error, however the work on its files ends.
func TestLockedIsReported(t *testing.T) {
	const hidden = ".narseal-0123456789abcdef"
	stale, _ := machotest.Stale(20000)
	for what, use := range map[string]func(r *Repairer, m *member){
		"leftover": func(r *Repairer, m *member) {
			if !r.leftover(&scan.Entry{Dir: m.entry.Dir, Name: hidden, Type: m.entry.Type}) {
				t.Error("the leftover stays")
			}
		},
		"commit": func(r *Repairer, m *member) {
			if _, err := m.WriteAt(stale[:1], 0); err != nil {
				t.Error(err)
			}
			r.settled(false)
		},
		"drop": func(r *Repairer, m *member) {
			if _, err := m.WriteAt(stale[:1], 0); err != nil {
				t.Error(err)
			}
			r.drop()
		},
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "image"), stale)
		if what == "leftover" {
			write(t, filepath.Join(dir, hidden), nil)
		}
		other, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { other.Close(); os.Chmod(dir, 0o755) })
		if err := errors.Join(unix.Flock(int(other.Fd()), unix.LOCK_SH), os.Chmod(dir, 0o555)); err != nil {
			t.Fatal(err)
		}
		r, o := newRepairer(1)
		r.dirs.waited = true // do not wait for the lock
		opened(t, dir, func(f *scan.File) {
			if f.Entry.Name == "image" {
				res := &scan.Result{Entry: *f.Entry, Inode: f.Inode}
				asOwner(t, func() { use(r, r.member(res).(*member)) })
			}
		})
		failed := append(o.failed, r.late...)
		if len(failed) != 1 || !errors.Is(failed[0], errLocked) {
			t.Errorf("%s: failed %v, want that the directory stays writable", what, failed)
		}
	}
}
