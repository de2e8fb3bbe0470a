// Package repeats limits the work on NARs that several narinfos refer to.
package repeats

import (
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"sync"
)

// Store paths with equal contents share a NAR, which is read again for each of them. A cache of a few KB could make a
// run read a NAR of gigabytes thousands of times. So at most Free bytes are read again, plus maxRatio times the size of
// the cache's files. What counts is what was read, since a narinfo can claim any size: otherwise a few false ones would
// use up what others need.
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
	again int64 // bytes that were read again
}

type entry struct{ url, path uint64 } // hashes

// ErrOften is wrapped by the error for a NAR that must not be read again.
var ErrOften = errors.New("other paths name it, too")

// A Reading is the reading of a NAR for one path. nil is one that is not counted.
type Reading struct {
	nars  *NARs
	url   string
	bytes int64 // that were counted
}

// Begin must be called for each path and URL before the NAR of the path is read. narSize is the size that its narinfo
// claims; size is that of the file, or negative if unknown, both in bytes. Begin returns an error if the NAR must not be
// read again.
func (n *NARs) Begin(url, path string, narSize, size int64) (*Reading, error) {
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
		return nil, nil
	}
	if e.path == now.path {
		return nil, nil
	}
	if n.exceeds(narSize) {
		return nil, often(url)
	}
	return &Reading{nars: n, url: url}, nil
}

// exceeds reports whether these bytes more would be too many. The caller holds mu.
func (n *NARs) exceeds(bytes int64) bool {
	left := Free - n.again
	return bytes > left && (bytes-left)/maxRatio >= n.files
}

func often(url string) error {
	return fmt.Errorf("%s: %w: to read it for each is more than %d bytes and %d:1 of the cache's files", url, ErrOften, Free, maxRatio)
}

// At records that so many bytes were read, of the file or of its contents: the larger number counts, and once, however
// often the NAR is read for this path. At returns an error if all paths together have read too much.
func (r *Reading) At(bytes int64) error {
	if r == nil {
		return nil
	}
	n := r.nars
	n.mu.Lock()
	defer n.mu.Unlock()
	n.again += max(0, bytes-r.bytes)
	r.bytes = max(r.bytes, bytes)
	if n.exceeds(0) {
		return often(r.url)
	}
	return nil
}

// Reader returns a reader of in, a file of the NAR, that calls At.
func (r *Reading) Reader(in io.Reader) io.Reader {
	if r == nil {
		return in
	}
	return &reader{Reading: r, in: in}
}

type reader struct {
	*Reading
	in io.Reader
	n  int64
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	r.n += int64(n)
	if often := r.At(r.n); often != nil {
		return 0, often
	}
	return n, err
}
