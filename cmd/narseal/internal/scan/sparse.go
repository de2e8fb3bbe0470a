package scan

import (
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// NextData returns the next range of a file, at or after off, that holds data and is no hole. In a file system without
// holes that is all of it. After the last data it returns size twice.
func NextData(f *os.File, off, size int64) (from, to int64, err error) {
	from, err = f.Seek(off, unix.SEEK_DATA)
	switch {
	case isErrno(err, unix.ENXIO):
		return size, size, nil
	case isErrno(err, unix.EINVAL), isErrno(err, unix.ENOTSUP), isErrno(err, unix.ENOTTY):
		return off, size, nil
	case err != nil:
		return 0, 0, err
	}
	to, err = f.Seek(from, unix.SEEK_HOLE)
	if err != nil {
		return 0, 0, err
	}
	return min(from, size), min(to, size), nil
}

func isErrno(err error, want unix.Errno) bool {
	p, ok := err.(*os.PathError)
	return ok && p.Err == want
}

// A sparsePool limits what the holes of all files of a walk cost together: they cost their owner nothing, and hashing
// them as much as data.
type sparsePool struct{ excess atomic.Int64 }

const (
	// maxSparseness is how many times larger than its data a file may be.
	maxSparseness = 4
	// maxExcess is by how many bytes all files together may be larger than that.
	maxExcess = 64 << 20
	blockSize = 512 // of what stat counts
)

// check returns an error for a file that consists of holes for the most part, if the pool does not allow for it.
func (p *sparsePool) check(f *File) error {
	size := f.Size()
	if size <= f.Inode.Blocks*blockSize*maxSparseness {
		return nil
	}
	data := int64(0)
	for off := int64(0); off < size && data < size/maxSparseness; {
		from, to, err := NextData(f.File, off, size)
		if err != nil {
			return f.Wrap(err)
		}
		data += to - from
		off = to
	}
	excess := size - maxSparseness*data
	if excess <= 0 {
		return nil
	}
	if p.excess.Add(excess) > maxExcess {
		p.excess.Add(-excess)
		return f.Wrap(fmt.Errorf("a sparse file: only %d of %d bytes are data, and at least 1 in %d is needed to be examined",
			data, size, maxSparseness))
	}
	return nil
}
