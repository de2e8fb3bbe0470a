//go:build unix

package pagehash

import (
	"os"
	"runtime/debug"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// guarded returns memory that cannot be written, between pages of memory that cannot be read.
func guarded(t *testing.T, size int) []byte {
	t.Helper()
	page := os.Getpagesize()
	all, err := unix.Mmap(-1, 0, size+2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(all) })
	data := all[page : page+size]
	copy(data, random(size))
	for _, part := range []struct {
		memory []byte
		prot   int
	}{{all[:page], unix.PROT_NONE}, {data, unix.PROT_READ}, {all[page+size:], unix.PROT_NONE}} {
		if err := unix.Mprotect(part.memory, part.prot); err != nil {
			t.Fatal(err)
		}
	}
	return data
}

// Pages of every length, each in every lane, that begin where memory begins or end where it ends.
func TestNoByteBesideIsRead(t *testing.T) {
	data := guarded(t, 2*os.Getpagesize())
	inside := data[100:4196]
	step := 1
	if testing.Short() {
		step = 7
	}
	withKernels(t, func(t *testing.T) {
		for n := 0; n < 4200; n += step {
			head, tail := data[:n], data[len(data)-n:]
			check(t, [][]byte{head, tail, tail, head, tail})
			if n%64 < 2 || n%64 == 55 {
				var pages [][]byte
				for i := range maxLanes {
					pages = append(pages, inside)
					pages[i] = tail
					check(t, pages)
					check(t, append(pages, head))
					pages[i] = inside
				}
			}
		}
	})
}

// A mapped file that is cut short faults inside the assembly. The panic can be recovered from, and sums are right after it.
func TestFault(t *testing.T) {
	data := guarded(t, os.Getpagesize())
	beyond := unsafe.Slice(unsafe.SliceData(data), 2*len(data))[64:]
	withKernels(t, func(t *testing.T) {
		for i := range maxLanes {
			pages := make([][]byte, maxLanes)
			for j := range pages {
				pages[j] = data
			}
			pages[i] = beyond
			at := func() (addr uintptr) {
				defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
				defer func() {
					if fault, ok := recover().(interface{ Addr() uintptr }); ok {
						addr = fault.Addr()
					}
				}()
				Sum256(make([][32]byte, len(pages)), pages)
				return 0
			}()
			if want := uintptr(unsafe.Pointer(unsafe.SliceData(data))) + uintptr(len(data)); at != want {
				t.Fatalf("lane %d: fault at %#x, want %#x", i, at, want)
			}
			pages[i] = data
			check(t, pages)
		}
	})
}
