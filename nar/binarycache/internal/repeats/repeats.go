// Package repeats bounds the work on NARs that several narinfos name.
package repeats

import (
	"fmt"
	"hash/maphash"
	"sync"
)

// Store paths with equal contents have one NAR, which is read again for each of them. A cache of a few KB could have a NAR
// of gigabytes read thousands of times. So what is read again is at most maxRatio times what the files of the cache have,
// and Free.
const (
	Free     = 1 << 30 // bytes
	maxRatio = 1000
)

// remembered is how many NARs are remembered at most. A cache in which more lie between two narinfos of one NAR is no
// longer small.
const remembered = 1 << 15

// NARs remembers the NARs that were read, in 512 KiB of memory. The zero NARs has none. Its methods may be called by several
// goroutines at once.
type NARs struct {
	mu    sync.Mutex
	seed  maphash.Seed
	table []entry
	files int64 // bytes of files
	again int64 // bytes of NARs that were read again
}

type entry struct{ url, path uint64 } // hashes

// Add must be called before the NAR of a path is read, for each path and URL. size is that of the file, negative if it is not
// known. Add returns an error if the NAR was read for another path, and must not be read again.
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
