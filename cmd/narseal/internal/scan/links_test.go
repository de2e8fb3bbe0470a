package scan

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"

	"narseal/macho"
	"narseal/macho/bundle"
	"narseal/macho/machotest"
	"narseal/nar"
)

// scanned lists what a Scanner that only reads finds in a tree, and how often it examines a file.
func scanned(t *testing.T, dir string) (found []string, failed []error, examined int64) {
	t.Helper()
	var n atomic.Int64
	s := &Scanner{
		Jobs: 2, ReadOnly: true,
		Examine: func(f *File, cfg macho.Config) (*macho.Report, error) {
			n.Add(1)
			return Verifier(true)(f, cfg)
		},
		Slice: func(path nar.Path, s macho.Slice) {
			found = append(found, fmt.Sprintf("%s %s %s %v", strings.TrimPrefix(path.String(), dir), s.Status, s.Reason, s.CodeDirectories))
		},
		Fail: func(err error) { failed = append(failed, err) },
	}
	if err := s.Run(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	return found, failed, n.Load()
}

// A file with many names is examined once or, by workers that begin at the same time, twice, and its names are reported
// as copies would be.
func TestHardLinks(t *testing.T) {
	stale, _ := machotest.Stale(100_000)
	copies, linked := t.TempDir(), t.TempDir()
	const names = 50
	first := filepath.Join(linked, "0")
	write(t, first, stale)
	for i := range names {
		for _, at := range []string{"%d", "A.app/Contents/MacOS/%d", "A.app/Contents/Resources/%d"} {
			name := fmt.Sprintf(at, i)
			write(t, filepath.Join(copies, name), stale)
			name = filepath.Join(linked, name)
			if name == first {
				continue
			}
			if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.Link(first, name); err != nil {
				t.Fatal(err)
			}
		}
	}
	want, failed, n := scanned(t, copies)
	if len(failed) > 0 || n != 3*names || len(want) != 3*names {
		t.Fatalf("copies: %v, %d examined, %d found", failed, n, len(want))
	}
	got, failed, n := scanned(t, linked)
	if len(failed) > 0 || n > 2 {
		t.Errorf("links: %v, %d examined", failed, n)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// Memory for files with several names is bounded, whatever lies in between.
func TestHardLinksMemory(t *testing.T) {
	var l links
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a"), make([]byte, minLinked))
	if err := os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "b")); err != nil {
		t.Fatal(err)
	}
	f := open(t, filepath.Join(dir, "a"))
	r := &macho.Report{Slices: []macho.Slice{{CodeDirectories: []macho.CodeDirectory{{Stale: make([]int, 10_000)}}}}}
	const each = 80_000 // at least
	for i := range 1000 {
		f.Inode.Ino = uint64(i + 1)
		l.remember(f, r, nil)
		if len(l.all) != len(l.order) || len(l.all) > maxLinked/each {
			t.Fatalf("%d files, %d in order", len(l.all), len(l.order))
		}
		if l.find(f).report == nil {
			t.Fatalf("file %d is forgotten at once", i)
		}
	}
	// So is that of the pages of scripts.
	digest := bundle.NewItemDigest("script")
	digest.Write(append([]byte("#"), make([]byte, 2<<20)...))
	if n := digest.Memory(); n < 50_000 {
		t.Fatalf("a script takes %d bytes", n)
	}
	for i := range 1000 {
		f.Inode.Ino = uint64(i + 1)
		if l.remember(f, nil, digest); len(l.all) > maxLinked/50_000 {
			t.Fatalf("%d scripts", len(l.all))
		}
	}
}

// Files of holes may cost little together.
func TestSparseFiles(t *testing.T) {
	stale, _ := machotest.Stale(100_000)
	dir := t.TempDir()
	for i := range 10 {
		name := filepath.Join(dir, fmt.Sprint(i))
		write(t, name, stale)
		if err := os.Truncate(name, 20<<20); err != nil {
			t.Fatal(err)
		}
	}
	found, failed, n := scanned(t, dir)
	if n != 3 || len(found) != 3 || len(failed) != 7 || !strings.Contains(failed[0].Error(), "a sparse file") {
		t.Errorf("%d examined, found %q, failed %v", n, found, failed)
	}
}

// A file of a bundle that changes while it is hashed is an error, whether its contents are kept or not.
func TestHashChanged(t *testing.T) {
	dir := t.TempDir()
	for _, base := range []string{"text", "Info.plist"} {
		for _, changes := range []bool{false, true} {
			name := filepath.Join(dir, base)
			write(t, name, []byte("old"))
			f := open(t, name)
			if changes {
				write(t, name, []byte("newer"))
			}
			r := &Result{Entry: *f.Entry, inBundle: true}
			if err := new(Scanner).hash(r, f); (err != nil) != changes || (r.digest == nil) != changes {
				t.Errorf("%s, changes %v: error %v, hashed %v", base, changes, err, r.digest != nil)
			}
		}
	}
}
