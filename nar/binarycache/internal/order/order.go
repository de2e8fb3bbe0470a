// Package order determines the order in which narinfos are written.
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
//   - If a path refers to paths that no worker has begun, the worker processes those first.
//   - If a path is done before its references, its narinfo is parked, and the worker continues with another path. So no
//     worker waits for another: the one that finishes the last reference writes the narinfo.
//   - A path that fails does not hold up the paths that refer to it: they are written, with a warning. They are no
//     worse off than in a cache that never had the path.
//   - Under rules, two paths may come to refer to each other. Narinfos that still wait at the end are written then.
//
// For each path, its hash and its progress are kept: about 50 bytes. A parked path takes about 150 more, however many
// references it waits for: they are in a spill buffer, with its narinfo.
type Order struct {
	// Ahead says that workers may process references before their turn. Open says that this includes paths that were
	// not listed.
	Ahead, Open bool

	mu      sync.Mutex
	over    bool // no path is parked any more
	paths   map[Key]Progress
	waiting map[Key][]*Parked // by the path that they wait for
	parked  int
	text    spill.Buffer // texts and references of the parked paths
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
	begunListed // listed after the work on it began
	Settled     // written, found to exist, or left out
	Absent      // not in the cache, as far as is known
	Failed
)

// waitedFor reports whether the work on a path is still to come, or is going on.
func (p Progress) waitedFor() bool { return p == listed || p == begun || p == begunListed }

// A Parked path waits for others.
type Parked struct {
	Key
	offset int64 // of its text, in bytes; its references follow the text
	size   int   // of its text
	refs   int   // number of references, from the first on, that may not be Settled
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

// List records that a path was listed, and reports whether it still needs work.
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

// keysAtOnce is how many references are read at a time.
const keysAtOnce = 64

// wait makes a path wait for the last of its references that is not settled. It returns false if there is none, or if they
// cannot be read: then its text cannot be read either.
func (o *Order) wait(p *Parked) bool {
	var keys [keysAtOnce]Key
	var b [keysAtOnce * len(Key{})]byte
	for p.refs > 0 {
		n := min(p.refs, keysAtOnce)
		first := p.offset + int64(p.size) + int64(p.refs-n)*int64(len(Key{}))
		if got, err := o.text.ReadAt(b[:n*len(Key{})], first); got < n*len(Key{}) && err != nil {
			return false
		}
		for i := range n {
			copy(keys[i][:], b[i*len(Key{}):])
		}
		for ; n > 0; n-- {
			if k := keys[n-1]; o.paths[k].waitedFor() {
				o.waiting[k] = append(o.waiting[k], p)
				return true
			}
			p.refs--
		}
	}
	return false
}

// Park parks a path if it has to wait and Rest was not called before, and reports whether it did. text is the data for
// finishing the path; Park may append to it.
func (o *Order) Park(k Key, refs []Key, text []byte) (bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	refs = slices.DeleteFunc(slices.Clone(refs), func(k Key) bool { return !o.paths[k].waitedFor() })
	if len(refs) == 0 || o.over {
		return false, nil
	}
	p := &Parked{Key: k, offset: o.text.Size(), size: len(text), refs: len(refs)}
	for _, r := range refs {
		text = append(text, r[:]...)
	}
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

// Expect records paths that will be processed later, such as renamed paths, which are written after all others in
// place.
func (o *Order) Expect(keys []Key) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, k := range keys {
		if o.paths[k] == unknown {
			o.paths[k] = listed
		}
	}
}
