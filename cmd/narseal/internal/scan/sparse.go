package scan

import (
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// NextData returns the next range of data, not a hole, at or after off. On a file system without holes, it is the rest
// of the file. After the last data, it returns size twice.
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

// A sparsePool limits the holes in all files of a walk together. Holes take no disk space, but hashing them takes as
// much time as hashing data.
type sparsePool struct{ excess atomic.Int64 }

const (
	// maxSparseness is the maximum ratio of a file's size to its data.
	maxSparseness = 4
	// maxExcess is the number of bytes by which all files together may exceed that.
	maxExcess = 64 << 20
	blockSize = 512 // unit of st_blocks
)

// check returns an error for a file that consists mostly of holes, if the pool's allowance is used up.
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
