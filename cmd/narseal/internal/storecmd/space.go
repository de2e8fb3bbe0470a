package storecmd

import (
	"context"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// room is space in a file system.
type room struct{ bytes, inodes uint64 }

// Nix and this program need some space for other things, such as the database.
const (
	spareBytes  = 4 << 20
	spareInodes = 64
	// maxBlock bounds what the smallest file takes. Some file systems say more, and do not need it.
	maxBlock = 64 << 10
	// minEntry is how much of an archive the shortest entry of a directory takes, in bytes, rounded down.
	minEntry = 128
)

// space is what all jobs of a run need together of the store's file system.
//
// Nix removes the old contents of a path before it unpacks the new ones, and in an optimised store that frees nothing. If
// the new ones do not fit, the path is lost until there is room, so each job reserves what it is going to write.
type space struct {
	stat func() (free room, block uint64, err error)

	mu        sync.Mutex
	changed   *sync.Cond
	reserved  room
	holders   int
	exclusive bool // one of them, which has not enough
}

func newSpace(dir string) *space {
	s := &space{stat: func() (free room, block uint64, err error) {
		var fs unix.Statfs_t
		if err := unix.Statfs(dir, &fs); err != nil {
			return free, 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
		}
		free = room{min(uint64(fs.Bavail), 1<<40) * min(uint64(fs.Bsize), 1<<20), 1 << 62}
		if fs.Files > 0 { // it has a table of inodes
			free.inodes = uint64(fs.Ffree)
		}
		return free, min(uint64(fs.Bsize), maxBlock), nil
	}}
	s.changed = sync.NewCond(&s.mu)
	return s
}

// contents is the room for the contents of an archive: each file, directory and symlink may take one block more than it
// has bytes.
func contents(narSize, entries int64, block uint64) room {
	size, n := uint64(max(0, narSize)), uint64(max(0, entries))
	if n == 0 { // not known
		n = size/minEntry + 1
	}
	return room{size + size/8 + n*block + spareBytes, n + spareInodes}
}

// reserve waits until there is room for the data that the caller is going to write, as long as other jobs may release
// some. If there is still too little, reserve returns an error; but if must is set, it lets the caller try while no other
// job writes.
func (s *space) reserve(ctx context.Context, must bool, want func(block uint64) room) (release func(), err error) {
	defer context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.changed.Broadcast()
	})()
	s.mu.Lock()
	defer s.mu.Unlock()
	for ; ; s.changed.Wait() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if s.exclusive {
			continue
		}
		free, block, err := s.stat()
		if err != nil {
			return nil, err
		}
		need := want(block)
		err = s.lack(free, need)
		if err != nil && s.holders > 0 {
			continue
		}
		if err != nil && !must {
			return nil, err
		}
		s.holders++
		s.exclusive = err != nil
		s.reserved.bytes += need.bytes
		s.reserved.inodes += need.inodes
		return func() { s.release(need) }, nil
	}
}

func (s *space) release(r room) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holders--
	s.exclusive = false
	s.reserved.bytes -= r.bytes
	s.reserved.inodes -= r.inodes
	s.changed.Broadcast()
}

// lack returns an error if this much is not free, beside what is reserved.
func (s *space) lack(free, need room) error {
	if want := s.reserved.bytes + need.bytes; free.bytes < want {
		return fmt.Errorf("the file system of the store has %d bytes free, want %d", free.bytes, want)
	}
	if want := s.reserved.inodes + need.inodes; free.inodes < want {
		return fmt.Errorf("the file system of the store has %d inodes free, want %d", free.inodes, want)
	}
	return nil
}

// reserveFor reserves the room for the contents of what is staged.
func (r *repairRun) reserveFor(ctx context.Context, g *staged, must bool) (release func(), err error) {
	nar, err := g.openNAR()
	if err != nil {
		return nil, err
	}
	defer nar.Close()
	info, err := nar.Stat()
	if err != nil {
		return nil, err
	}
	return r.space.reserve(ctx, must, func(block uint64) room { return contents(info.Size(), g.Entries, block) })
}
