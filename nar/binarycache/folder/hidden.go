//go:build linux || darwin

package folder

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"regexp"
	"sync"

	"golang.org/x/sys/unix"
)

// A hidden is the name of a file that is not complete, or not where it belongs:
//
//	.narseal-RANDOM                 a file that is being written
//	.narseal-RANDOM-OWN-OLD-NAME-   one that is being exchanged with the object NAME
//
// RANDOM, OWN and OLD have 16 hexadecimal digits. OWN and OLD identify the new file and the one that it replaces. The last
// hyphen hides the name from programs that look for names ending in .narinfo.
type hidden struct {
	name     string
	own, old string // "" in the first form
	base     string // NAME
}

// hiddenForm is compiled when it is first needed, not at every start.
var hiddenForm = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^\.narseal-[0-9a-f]{16}(?:-([0-9a-f]{16})-([0-9a-f]{16})-([^.].*)-)?$`)
})

func hiddenName() string { return fmt.Sprintf(".narseal-%016x", rand.Uint64()) }

// exchangeName returns a hidden name of the second form, or of the first if it would be too long for a file system.
func exchangeName(own, old, base string) string {
	name := fmt.Sprintf("%s-%s-%s-%s-", hiddenName(), own, old, base)
	if len(name) > unix.NAME_MAX {
		return hiddenName()
	}
	return name
}

func parseHidden(name string) (hidden, bool) {
	m := hiddenForm().FindStringSubmatch(name)
	if m == nil {
		return hidden{}, false
	}
	return hidden{name: name, own: m[1], old: m[2], base: m[3]}, true
}

// identify returns digits that tell a file from others. An exchange does not change them.
func identify(st *unix.Stat_t) string {
	h := fnv.New64a()
	fmt.Fprint(h, st.Ino, st.Size, st.Mtim.Sec, st.Mtim.Nsec)
	return fmt.Sprintf("%016x", h.Sum64())
}

// clean removes the file if its writer was killed.
func (h *hidden) clean(dir *os.File) {
	var st unix.Stat_t
	if err := lstat(dir, h.name, &st); err != nil {
		return
	}
	if id := identify(&st); h.base != "" && id != h.own && id != h.old && !h.giveBack(dir, &st) {
		return
	}
	f, st, err := openRegular(dir, h.name)
	if err != nil {
		return // somebody else's, or deleted
	}
	defer f.Close()
	if user := os.Geteuid(); (user == 0 || int(st.Uid) == user) &&
		unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil { // no writer has it open
		unix.Unlinkat(int(dir.Fd()), h.name, 0) // if this fails, readers ignore the file
	}
}

// giveBack undoes an exchange that has taken the name from another writer's file, which is st, and reports whether the hidden
// name is that of our file now. It does nothing while the exchange goes on, if the object is no longer the file that was
// exchanged, or if the other writer could not have given the file that name.
func (h *hidden) giveBack(dir *os.File, st *unix.Stat_t) bool {
	var at unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &at); err != nil || at.Mode&unix.S_ISVTX != 0 && int(st.Uid) != os.Geteuid() {
		return false
	}
	f, object, err := openRegular(dir, h.base)
	if err != nil {
		return false
	}
	defer f.Close()
	if identify(&object) != h.own || unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return false
	}
	if exchange(int(dir.Fd()), h.name, h.base) != nil {
		return false
	}
	var out unix.Stat_t
	if lstat(dir, h.name, &out) == nil && out.Ino == object.Ino {
		return true
	}
	_ = exchange(int(dir.Fd()), h.name, h.base) // somebody has written it meanwhile
	return false
}

// Clean removes hidden files of writers that were killed.
func (s *Store) Clean(ctx context.Context) error {
	for _, name := range []string{"", "nar"} {
		dir, err := s.walk(name, false)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return s.fail("clean", name, err)
		}
		err = clean(ctx, dir)
		dir.Close()
		if err != nil {
			return s.fail("clean", name, err)
		}
	}
	return nil
}

func clean(ctx context.Context, dir *os.File) error {
	for {
		names, err := dir.Readdirnames(1 << 12)
		for _, name := range names {
			if h, ok := parseHidden(name); ok {
				h.clean(dir)
			}
		}
		if err == io.EOF {
			return ctx.Err()
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return reason(err)
		}
	}
}
