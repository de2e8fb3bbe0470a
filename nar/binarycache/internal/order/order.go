// Package order decides in which order narinfos are written.
package order

import (
	"cmp"
	"slices"
	"strings"
	"sync"

	"github.com/nix-community/go-nix/pkg/nixbase32"

	"narseal/nar/binarycache/internal/spill"
	"narseal/nar/binarycache/narinfo"
	"narseal/nar/storepath"
)

// An Order ensures that narinfos are written only after those that they refer to, among the paths of a run. It is for
// runs that write narinfos with new names: to another cache, or for renamed paths.
//
//   - A worker that finds references to paths that no worker has begun does those first.
//   - If a path is done before its references, its narinfo is parked, and the worker continues with another path. So no
//     worker waits for another: the one that finishes the last reference writes the narinfo.
//   - A path that fails does not hold up the paths that refer to it: they are written, with a warning. They are no
//     worse off than in a cache that never had the path.
//   - Under rules, two paths may come to refer to each other. Narinfos that still wait at the end are written then.
//
// For each path, its hash and its progress are kept: about 50 bytes. A parked path also keeps the hashes of the
// references that it waits for; its narinfo is in a spill buffer.
type Order struct {
	// Ahead says that workers may handle references before their turn, and Open that this includes those that were not
	// listed.
	Ahead, Open bool

	mu      sync.Mutex
	over    bool // no path is parked any more
	paths   map[Key]Progress
	waiting map[Key][]*Parked // for a path
	parked  int
	text    spill.Buffer // texts of the parked paths
}

// New returns an Order. open returns a file for the texts of parked paths; it may be nil.
func New(ahead, openToAll bool, open func() (spill.File, error)) *Order {
	o := &Order{Ahead: ahead, Open: openToAll, paths: map[Key]Progress{}, waiting: map[Key][]*Parked{}}
	o.text.Open = open
	return o
}

// A Key is a hash part, decoded.
type Key [20]byte

// Progress is the state of the work on a path.
type Progress uint8

const (
	unknown Progress = iota
	listed
	begun
	begunListed // listed after the work on it had begun
	Settled     // written, or found to be there, or left out
	Absent      // not in the cache, as far as the run knows
	Failed
)

// waitedFor reports whether the work on a path is still to come, or is going on.
func (p Progress) waitedFor() bool { return p == listed || p == begun || p == begunListed }

// A Parked path waits for others.
type Parked struct {
	Key
	refs   []Key // that are not Settled
	offset int64 // of its text, in bytes
	size   int
}

// KeyOf returns the Key in the name of a narinfo or in a base name.
func KeyOf(name string) (k Key) {
	b, err := nixbase32.DecodeString(name[:storepath.HashLen])
	if err == nil {
		copy(k[:], b)
	}
	return k
}

// InfoName returns the name of the narinfo.
func (k Key) InfoName() string { return nixbase32.EncodeToString(k[:]) + narinfo.Suffix }

// List records that a path was listed, and reports whether to work on it: it may be done already.
func (o *Order) List(name string) bool {
	if o == nil || !o.Ahead {
		return true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	k := KeyOf(name)
	switch o.paths[k] {
	case unknown, Absent:
		o.paths[k] = listed
		return true
	case begun:
		o.paths[k] = begunListed
	}
	return false
}

// Begin reports whether a path still needs work, and if so, records that the work has begun.
func (o *Order) Begin(k Key) (ok, wasListed bool) {
	if o == nil || !o.Ahead {
		return true, true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.paths[k]
	switch {
	case p == listed:
		o.paths[k] = begunListed
		return true, true
	case p == unknown && o.Open:
		o.paths[k] = begun
		return true, false
	}
	return false, false
}

// Leave records that a path to which another one refers is not in the cache, and returns the parked paths that no longer
// have to wait. If the path has been listed since the work on it began, ok is false: it needs a result.
func (o *Order) Leave(k Key) (ready []*Parked, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.paths[k] == begunListed {
		return nil, false
	}
	return o.settle(k, Absent), true
}

// Settle records how the work on a path ended, and returns the parked paths that no longer have to wait.
func (o *Order) Settle(k Key, p Progress) (ready []*Parked) {
	if o == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.settle(k, p)
}

func (o *Order) settle(k Key, p Progress) (ready []*Parked) {
	o.paths[k] = p
	waiting := o.waiting[k]
	delete(o.waiting, k)
	for _, w := range waiting {
		if !o.wait(w) {
			ready = append(ready, w)
		}
	}
	return ready
}

// wait makes a path wait for the next of its references that is not settled. It returns false if there is none.
func (o *Order) wait(p *Parked) bool {
	for len(p.refs) > 0 {
		k := p.refs[len(p.refs)-1]
		if o.paths[k].waitedFor() {
			o.waiting[k] = append(o.waiting[k], p)
			return true
		}
		p.refs = p.refs[:len(p.refs)-1]
	}
	return false
}

// Park parks a path, if it has to wait and Rest was not called before. text is what is needed to finish it.
func (o *Order) Park(k Key, refs []Key, text []byte) (bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	refs = slices.DeleteFunc(slices.Clone(refs), func(k Key) bool { return !o.paths[k].waitedFor() })
	if len(refs) == 0 || o.over {
		return false, nil
	}
	p := &Parked{Key: k, refs: refs, offset: o.text.Size(), size: len(text)}
	if _, err := o.text.Write(text); err != nil {
		return false, err
	}
	o.wait(p)
	o.parked++
	return true, nil
}

// Take returns the text of a path that no longer has to wait.
func (o *Order) Take(p *Parked) ([]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := make([]byte, p.size)
	if n, err := o.text.ReadAt(b, p.offset); n < len(b) {
		return nil, err
	}
	if o.parked--; o.parked == 0 {
		o.text.Reset()
	}
	return b, nil
}

// Close releases the resources of the Order.
func (o *Order) Close() error {
	if o == nil {
		return nil
	}
	return o.text.Close()
}

// Rest returns the paths that still wait at the end. After it, no path is parked: nobody would take it.
func (o *Order) Rest() (list []*Parked) {
	if o == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.over = true
	for _, waiting := range o.waiting {
		list = append(list, waiting...)
	}
	slices.SortFunc(list, func(a, b *Parked) int { return cmp.Compare(a.offset, b.offset) })
	clear(o.waiting)
	return list
}

// Failures returns the hash parts of the references that have failed.
func (o *Order) Failures(refs []Key) (names []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, k := range refs {
		if o.paths[k] == Failed {
			names = append(names, strings.TrimSuffix(k.InfoName(), narinfo.Suffix))
		}
	}
	return names
}

// Expect records paths that will be worked on later: in place, the renamed ones, after all others.
func (o *Order) Expect(keys []Key) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, k := range keys {
		if o.paths[k] == unknown {
			o.paths[k] = listed
		}
	}
}
