package inplace

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"unsafe"

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

// as calls f as a user who is in one other group besides its own.
func as(t *testing.T, user, group, other uint32, f func()) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // as in asOwner
		for _, call := range [][4]uintptr{
			{unix.SYS_SETGROUPS, 1, uintptr(unsafe.Pointer(&other))},
			{unix.SYS_SETRESGID, uintptr(group), uintptr(group), uintptr(group)},
			{unix.SYS_SETRESUID, uintptr(user), uintptr(user), uintptr(user)},
		} {
			if _, _, errno := unix.RawSyscall(call[0], call[1], call[2], call[3]); errno != 0 {
				done <- errno
				return
			}
		}
		f()
		done <- nil
	}()
	if err := <-done; err != nil {
		t.Skip(err)
	}
}

// A directory whose set-group-ID bit the kernel would drop is left as it is, and is an error; also one that a killed run
// left writable.
func TestSetGroupID(t *testing.T) {
	const user, group = 65534, 12345
	for _, test := range []struct {
		other  uint32
		mode   uint32
		failed bool
		left   uint32 // the mode in the end
	}{
		{group, 0o2555, false, 0o2555},
		{1, 0o2555, true, 0o2555},
		{1, 0o0555, false, 0o0555},
		{group, 0o7755, false, 0o2555},
		{1, 0o7755, true, 0o7755},
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "image"), nil)
		if err := errors.Join(os.Chown(dir, user, group), unix.Chmod(dir, test.mode)); err != nil {
			t.Skip(err)
		}
		r, _ := newRepairer(1)
		opened(t, dir, func(f *scan.File) {
			var err error
			as(t, user, user, test.other, func() {
				if test.mode&writable != 0 {
					_, err = r.dirs.recover(f.Entry.Dir)
					return
				}
				err = r.in(f.Entry.Dir, func(d *directory) error {
					if st, err := d.stat(); err != nil || uint32(st.Mode)&0o7777 != test.mode|writable|mark {
						t.Errorf("%v, mode %#o while files are replaced", err, st.Mode)
					}
					return nil
				})
			})
			if (err != nil) != test.failed {
				t.Errorf("mode %#o, in group %d: %v", test.mode, test.other, err)
			}
		})
		var st unix.Stat_t
		if err := unix.Stat(dir, &st); err != nil || uint32(st.Mode)&0o7777 != test.left {
			t.Errorf("%v, mode %#o, want %#o", err, st.Mode&0o7777, test.left)
		}
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
