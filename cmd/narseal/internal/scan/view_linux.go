package scan

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// smallView is the maximum number of bytes that are read instead of mapped. It makes verifying many small files 1.5
// times as fast, because unmapping interrupts all CPUs.
const smallView = 512 << 10

var smallViews = sync.Pool{New: func() any { return new([smallView]byte) }}

// View implements macho.Viewer. It maps the bytes, unless they are few. Only Linux has it: macOS checks the mapped
// pages of a signed file, and may kill a process that touches a stale one.
func (f *File) View(off, n int64, look func([]byte) error) (err error) {
	if n <= smallView {
		return f.read(off, n, look)
	}
	lead := off % int64(os.Getpagesize())
	mapped, err := unix.Mmap(int(f.Fd()), off-lead, int(lead+n), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		// Some file systems do not support mmap, or there is no memory for it.
		return fmt.Errorf("%w: map: %w", errors.ErrUnsupported, err)
	}
	defer func() {
		if e := unix.Munmap(mapped); e != nil && err == nil {
			err = fmt.Errorf("unmap: %w", e)
		}
	}()
	return f.faults(off-lead, mapped, func() error { return look(mapped[lead:]) })
}

func (f *File) read(off, n int64, look func([]byte) error) error {
	buf := smallViews.Get().(*[smallView]byte)
	defer smallViews.Put(buf)
	m, err := f.ReadAt(buf[:n], off)
	if int64(m) == n {
		return look(buf[:n])
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if p := (*os.PathError)(nil); errors.As(err, &p) {
		err = p.Err
	}
	return fmt.Errorf("read: offset %d: %w", off+int64(m), err)
}

// faults calls look, which reads bytes that are mapped from offset off. If the system cannot read them, because the
// disk fails or the file was truncated, it sends SIGBUS, and faults returns an error.
func (f *File) faults(off int64, mapped []byte, look func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		fault, ok := r.(interface{ Addr() uintptr })
		if !ok {
			panic(r)
		}
		at := fault.Addr() - uintptr(unsafe.Pointer(unsafe.SliceData(mapped)))
		if at >= uintptr(len(mapped)) {
			panic(r)
		}
		off += int64(at)
		cause := error(unix.EIO)
		if info, e := f.Stat(); e != nil {
			cause = e
		} else if info.Size() <= off {
			cause = io.ErrUnexpectedEOF
		}
		err = fmt.Errorf("read: offset %d: %w", off, cause)
	}()
	return look()
}
