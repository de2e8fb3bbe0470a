package macho_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"narseal/macho"
	"narseal/macho/machotest"
)

var errBroken = errors.New("broken disk")

// brokenImage fails after some reads or writes, or silently drops writes.
type brokenImage struct {
	opaque
	mu            sync.Mutex
	reads, writes int // calls until the first failure; negative: never
	loseWrites    bool
}

func (b *brokenImage) countdown(n *int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if *n == 0 {
		return true
	}
	*n--
	return false
}

func (b *brokenImage) ReadAt(p []byte, off int64) (int, error) {
	if b.countdown(&b.reads) {
		return 0, errBroken
	}
	return b.opaque.ReadAt(p, off)
}

func (b *brokenImage) WriteAt(p []byte, off int64) (int, error) {
	if b.countdown(&b.writes) {
		return 0, errBroken
	}
	if b.loseWrites {
		return len(p), nil
	}
	return b.opaque.WriteAt(p, off)
}

// TestBrokenReads fails each read in turn. The result must be an error, never a report.
func TestBrokenReads(t *testing.T) {
	for _, name := range []string{"special", "fat-64-false-unordered-false", "page-shift-18", "cms"} {
		c := matrixCase(t, name)
		damaged, _ := rewrite(c.Data, hashA, hashB)
		for n := 0; ; n++ {
			image := &brokenImage{opaque: opaque{bytes.Clone(damaged)}, reads: n, writes: -1}
			report, err := macho.Config{OnCMS: macho.CMSAdhoc}.Repair(image)
			if err == nil {
				if s := signedSlices(report)[0]; n < 5 || !isStatus(c, s, macho.StatusRepaired) {
					t.Errorf("%s: no error with %d reads: %+v", name, n, report.Slices)
				}
				break
			}
			if !errors.Is(err, errBroken) || report != nil {
				t.Fatalf("%s: after %d reads: %v, want the image's error", name, n, err)
			}
			if n > 10_000 {
				t.Fatalf("%s: still failing after %d reads", name, n)
			}
		}
	}
}

func TestBrokenWrites(t *testing.T) {
	for _, name := range []string{"special", "cms", "page-shift-18"} {
		c := matrixCase(t, name)
		damaged, _ := rewrite(c.Data, hashA, hashB)
		for n := 0; ; n++ {
			image := &brokenImage{opaque: opaque{bytes.Clone(damaged)}, reads: -1, writes: n}
			_, err := macho.Config{OnCMS: macho.CMSAdhoc}.Repair(image)
			if err == nil {
				if n == 0 {
					t.Errorf("%s: nothing was written", name)
				}
				break
			}
			if !errors.Is(err, errBroken) {
				t.Fatalf("%s: after %d writes: %v, want the image's error", name, n, err)
			}
		}
	}
}

// TestLostWrites checks an image that drops writes without an error. The check after the repair must detect that for
// every kind of slot.
func TestLostWrites(t *testing.T) {
	for _, c := range matrixA() {
		damaged, _ := rewrite(c.Data, hashA, hashB)
		image := &brokenImage{opaque: opaque{damaged}, reads: -1, writes: -1, loseWrites: true}
		report, err := macho.Config{OnCMS: macho.CMSAdhoc}.Repair(image)
		if err == nil {
			t.Errorf("%s: no error, but %+v", c.Name, report.Slices)
		}
	}
	c := matrixCase(t, "special")
	damaged := bytes.Clone(c.Data)
	damaged[c.Layouts[0].Blobs[5]+10] ^= 1
	_, err := macho.Repair(&brokenImage{opaque: opaque{damaged}, reads: -1, writes: -1, loseWrites: true})
	if err == nil || !strings.Contains(err.Error(), "special slot -5") {
		t.Errorf("error %v, want one about special slot -5", err)
	}
}

func TestBytes(t *testing.T) {
	b := macho.Bytes("0123456789")
	p := make([]byte, 4)
	if n, err := b.ReadAt(p, 8); n != 2 || err != io.EOF {
		t.Errorf("ReadAt the end = %d, %v", n, err)
	}
	if n, err := b.ReadAt(p, 10); n != 0 || err != io.EOF {
		t.Errorf("ReadAt past the end = %d, %v", n, err)
	}
	if n, err := b.ReadAt(p, 6); n != 4 || err != nil || string(p) != "6789" {
		t.Errorf("ReadAt = %d, %v, %q", n, err, p)
	}
	if n, err := b.WriteAt([]byte("abcd"), 8); n != 2 || !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("WriteAt the end = %d, %v", n, err)
	}
	for _, off := range []int64{-1, 11} {
		if _, err := b.WriteAt([]byte("x"), off); err == nil {
			t.Errorf("WriteAt(%d) does not fail", off)
		}
	}
	if _, err := b.ReadAt(p, -1); err == nil || err == io.EOF {
		t.Errorf("ReadAt(-1) = %v", err)
	}
	if string(b) != "01234567ab" || b.Size() != 10 {
		t.Errorf("%q of size %d", b, b.Size())
	}
}

// file is an image on disk.
type file struct {
	*os.File
	size int64
}

func (f file) Size() int64 { return f.size }

// TestFile repairs a larger image on disk: memory stays far below its size.
func TestFile(t *testing.T) {
	size := 64 << 20
	if testing.Short() {
		size = 16 << 20
	}
	for _, shift := range []uint8{12, 0} {
		data, l := machotest.Image{CodeSize: size, Text: hashA, Directories: []machotest.Directory{{PageShift: shift}}}.Build()
		damaged := bytes.Clone(data)
		damaged[size/2] ^= 1
		name := filepath.Join(t.TempDir(), fmt.Sprint("image", shift))
		if err := os.WriteFile(name, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()

		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		goroutines := runtime.NumGoroutine()
		report, err := macho.Config{Jobs: 4}.Repair(file{f, int64(len(data))})
		if err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 4<<20 {
			t.Errorf("%d bytes allocated for an image of %d", grown, size)
		}
		for end := time.Now().Add(20 * time.Second); runtime.NumGoroutine() > goroutines; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d goroutines are left", runtime.NumGoroutine()-goroutines)
			}
		}
		want := macho.StatusRepaired
		if shift == 0 {
			want = macho.StatusRefused // by the page size, after the repair
		}
		if s := report.Slices[0]; s.Status != want || len(s.CodeDirectories[0].Stale) != 1 {
			t.Errorf("status %s (%s), stale %v", s.Status, s.Reason, s.CodeDirectories[0].Stale)
		}
		damaged[size/2] ^= 1
		if _, err := f.WriteAt(damaged[size/2:size/2+1], int64(size/2)); err != nil {
			t.Fatal(err)
		}
		touched := []macho.Range{{Off: int64(size / 2), Len: 1}}
		if _, err := macho.RepairTouched(file{f, int64(len(data))}, touched); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, data) {
			t.Errorf("the file differs from the original; its signature is at %d", l.Signature)
		}
	}
}
