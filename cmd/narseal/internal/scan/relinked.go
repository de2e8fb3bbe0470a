package scan

import (
	"fmt"
	"sync/atomic"
)

// A relinkedPool limits the bytes of files that are kept, such as lists of resources, and that have several names. Their
// results are not remembered: they are parsed again for each name, which takes a hundred times as long as hashing.
type relinkedPool struct{ excess atomic.Int64 }

// maxRelinked is the number of bytes by which such files may exceed the other files that were hashed.
const maxRelinked = 128 << 20

// take returns an error if the allowance is used up.
func (p *relinkedPool) take(f *File) error {
	if f.Inode.Nlink < 2 || f.Size() < minLinked {
		return nil
	}
	if p.excess.Add(f.Size()) > maxRelinked {
		p.excess.Add(-f.Size())
		return f.Wrap(fmt.Errorf("a file with %d names that must be read for each of them: all such files are larger than the others by more than %d bytes",
			f.Inode.Nlink, maxRelinked))
	}
	return nil
}

// allow adds the bytes of another file that was hashed.
func (p *relinkedPool) allow(f *File) { p.excess.Add(-f.Size()) }
