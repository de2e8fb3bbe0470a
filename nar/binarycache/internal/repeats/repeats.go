// Package repeats limits the work on NARs that several narinfos refer to.
package repeats

import (
	"fmt"
	"hash/maphash"
	"sync"
)

// Store paths with equal contents share a NAR, which is read again for each of them. A cache of a few KB could make a
// run read a NAR of gigabytes thousands of times. So at most Free bytes are read again, plus maxRatio times the size of
// the cache's files.
const (
	Free     = 1 << 30 // bytes
	maxRatio = 1000
)

// remembered is the maximum number of NARs that are remembered. A cache with more NARs between two narinfos of the same
// NAR is no longer small.
const remembered = 1 << 15

// NARs remembers the NARs that were read, in 512 KiB of memory. The zero value is empty. Several goroutines may call
// its methods at the same time.
type NARs struct {
	mu    sync.Mutex
	seed  maphash.Seed
	table []entry
	files int64 // bytes of files
	again int64 // bytes of NARs that were read again
}

type entry struct{ url, path uint64 } // hashes

// Add must be called for each path and URL before the NAR of the path is read. size is the size of the file in bytes,
// or negative if unknown. Add returns an error if the NAR was already read for another path and must not be read again.
func (n *NARs) Add(url, path string, narSize, size int64) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.table == nil {
		n.seed, n.table = maphash.MakeSeed(), make([]entry, remembered)
	}
	now := entry{maphash.String(n.seed, url), maphash.String(n.seed, path)}
	e := &n.table[now.url%remembered]
	if e.url != now.url {
		*e = now
		n.files += max(size, 0)
		return nil
	}
	if e.path == now.path {
		return nil
	}
	if left := Free - n.again; narSize > left && (narSize-left)/maxRatio >= n.files {
		return fmt.Errorf("%s: other paths name it, too: to read it for each would be more than %d bytes and %d:1 of the cache's files", url, Free, maxRatio)
	}
	n.again += narSize
	return nil
}
