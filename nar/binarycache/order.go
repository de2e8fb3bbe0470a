package binarycache

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/nix-community/go-nix/pkg/nixbase32"

	"narseal/nar/binarycache/narinfo"
	"narseal/nar/binarycache/state"
	"narseal/nar/storepath"
)

// errParked is returned for a path whose narinfo waits for those that it refers to. All else of it is written.
var errParked = errors.New("its narinfo comes later")

// An order has narinfos written only after those that they refer to, among the paths of a run. It is for runs that write
// narinfos of new names: another cache, or the new names of renamed paths.
//
//   - A worker that finds references to paths that nobody works on yet does those first.
//   - A path that is done before its references are waits, except for its narinfo: the worker goes on with another path.
//     So nobody waits for anybody, and whoever finishes the last of the references writes the narinfo.
//   - A path that fails keeps nobody waiting: those that refer to it are written, with a warning. They are no worse off
//     than in a cache that never had the path.
//   - Under rules, two paths may come to refer to each other. What still waits when all is done is written then.
//
// Of each path, its hash and how far it is are kept: about 50 bytes. Of a path that waits, the hashes of the references
// that it waits for are kept too; its narinfo is in a spill.
type order struct {
	mu      sync.Mutex
	ahead   bool // references may be worked on before their turn
	open    bool // also those that were not listed
	paths   map[pathKey]progress
	waiting map[pathKey][]*parked // for a path
	parked  int
	text    spill // what the parked paths need
}

// A pathKey is a hash part, decoded.
type pathKey [20]byte

// progress is how far a path is.
type progress uint8

const (
	unknown progress = iota
	listed
	begun
	settled // written, or found to be there, or left out
	absent  // not in the cache, as far as is known
	failed
)

// A parked path waits for others.
type parked struct {
	key    pathKey
	refs   []pathKey // that are not settled
	offset int64     // of its parkedText in order.text, in bytes
	size   int
}

// parkedText is what is needed to go on with a parked path.
type parkedText struct {
	Name, Out  string
	Object     Object
	Replaced   *Object
	Encoding   encoding
	Text, Next []byte // narinfos
	Result     Result
}

// Limits of the references that one worker does first, of references of references of the path that it took.
const (
	maxAhead     = 64      // paths
	maxAheadText = 1 << 18 // bytes of their narinfos
)

// newOrder returns an order, or nil if a run needs none.
func newOrder(r *run) *order {
	if r.out == nil || r.DryRun || r.inPlace && r.Rename == nil {
		return nil
	}
	o := &order{paths: map[pathKey]progress{}, waiting: map[pathKey][]*parked{}}
	o.ahead = !r.inPlace
	o.open = o.ahead && r.Hashes == nil && r.Select == nil && r.Since.IsZero()
	o.text.open = r.TempFile
	return o
}

// keyOf is the key of a narinfo's name or a base name.
func keyOf(name string) (k pathKey) {
	b, err := nixbase32.DecodeString(name[:storepath.HashLen])
	if err == nil {
		copy(k[:], b)
	}
	return k
}

func (k pathKey) infoName() string { return nixbase32.EncodeToString(k[:]) + narinfo.Suffix }

// list notes that a path was listed, and says whether it is to be worked on: it may be done already.
func (o *order) list(name string) bool {
	if o == nil || !o.ahead {
		return true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if k := keyOf(name); o.paths[k] == unknown || o.paths[k] == absent {
		o.paths[k] = listed
		return true
	}
	return false
}

// begin says whether a path is still to be worked on, and notes that it is now.
func (o *order) begin(k pathKey) (ok, wasListed bool) {
	if o == nil || !o.ahead {
		return true, true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.paths[k]
	if p == listed || p == unknown && o.open {
		o.paths[k] = begun
		return true, p == listed
	}
	return false, false
}

// settle notes how a path ended, and returns those that have waited for it and for no other.
func (o *order) settle(k pathKey, p progress) (ready []*parked) {
	if o == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
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

// wait has a path wait for the next of its references, if there is one that is not settled.
func (o *order) wait(p *parked) bool {
	for len(p.refs) > 0 {
		k := p.refs[len(p.refs)-1]
		if s := o.paths[k]; s == listed || s == begun {
			o.waiting[k] = append(o.waiting[k], p)
			return true
		}
		p.refs = p.refs[:len(p.refs)-1]
	}
	return false
}

// park has a path wait, if it must.
func (o *order) park(refs []pathKey, t *parkedText) (bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	refs = slices.DeleteFunc(refs, func(k pathKey) bool { return o.paths[k] != listed && o.paths[k] != begun })
	if len(refs) == 0 {
		return false, nil
	}
	b, err := json.Marshal(t)
	if err != nil {
		return false, err
	}
	p := &parked{key: keyOf(t.Name), refs: slices.Clip(refs), offset: o.text.size, size: len(b)}
	if _, err := o.text.Write(b); err != nil {
		return false, err
	}
	o.wait(p)
	o.parked++
	return true, nil
}

// take returns what was parked.
func (o *order) take(p *parked) (*parkedText, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := make([]byte, p.size)
	if n, err := o.text.ReadAt(b, p.offset); n < len(b) {
		return nil, err
	}
	if o.parked--; o.parked == 0 {
		o.text.reset()
	}
	t := new(parkedText)
	return t, json.Unmarshal(b, t)
}

// rest are the paths that still wait, when all is done.
func (o *order) rest() (list []*parked) {
	if o == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, waiting := range o.waiting {
		list = append(list, waiting...)
	}
	slices.SortFunc(list, func(a, b *parked) int { return int(a.offset - b.offset) })
	clear(o.waiting)
	return list
}

// failures are those of references that have failed.
func (o *order) failures(refs []pathKey) (names []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, k := range refs {
		if o.paths[k] == failed {
			names = append(names, strings.TrimSuffix(k.infoName(), narinfo.Suffix))
		}
	}
	return names
}

// references are the paths whose narinfos come before that of n, which becomes next: what it refers to, before the rules
// and after them. In place, they are only those that get another name.
func (r *run) references(ctx context.Context, n, next *narinfo.Info) (keys []pathKey, err error) {
	for _, ref := range n.References {
		if ref == n.Base {
			continue
		}
		if r.inPlace {
			moving, err := r.isMoving(ctx, ref)
			if err != nil {
				return nil, err
			}
			if !moving {
				continue
			}
		}
		keys = append(keys, keyOf(ref))
	}
	if next != nil && !r.inPlace {
		for _, ref := range next.References {
			if ref != next.Base && ref != n.Base {
				keys = append(keys, keyOf(ref))
			}
		}
	}
	slices.SortFunc(keys, func(a, b pathKey) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(keys), nil
}

// isMoving says whether a reference is to a path that the run gives another name.
func (r *run) isMoving(ctx context.Context, ref string) (bool, error) {
	to := r.rename(ref)
	if len(to) < storepath.HashLen || narinfo.Name(to) == narinfo.Name(ref) || r.Exclude != nil && (r.Exclude(ref[:storepath.HashLen]) || r.Exclude(ref)) {
		return false, nil
	}
	_, err := r.in.Stat(ctx, narinfo.Name(ref))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// referencesFirst works on the references of a path that nobody has begun.
func (r *run) referencesFirst(ctx context.Context, t *task, w *pathWork) error {
	if r.order == nil || !r.order.ahead || t.renamedInfo != nil || t.ahead >= maxAhead || t.aheadText+len(w.text) > maxAheadText {
		return nil
	}
	keys, err := r.references(ctx, w.info, nil)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if ok, wasListed := r.order.begin(k); ok {
			r.do(ctx, task{name: k.infoName(), ahead: t.ahead + 1, aheadText: t.aheadText + len(w.text), maybe: !wasListed})
		}
	}
	return nil
}

// parkPath has a path wait whose narinfo must come after others, or returns nil.
func (r *run) parkPath(ctx context.Context, w *pathWork, res *Result) error {
	if r.order == nil {
		return nil
	}
	keys, err := r.references(ctx, w.info, w.next)
	if err != nil {
		return err
	}
	t := &parkedText{Name: w.name, Out: w.out, Object: w.object, Replaced: w.replaced, Encoding: w.encoding, Text: w.text, Next: w.next.Encode(), Result: *res}
	if r.inPlace {
		r.order.expect(keys)
	}
	ok, err := r.order.park(slices.Clone(keys), t)
	if err != nil {
		return err
	}
	if ok {
		return errParked
	}
	r.warnOfReferences(keys, res)
	return nil
}

// expect notes paths that will be worked on: in place, those that are renamed, after all others.
func (o *order) expect(keys []pathKey) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, k := range keys {
		if o.paths[k] == unknown {
			o.paths[k] = listed
		}
	}
}

func (r *run) warnOfReferences(keys []pathKey, res *Result) {
	if r.inPlace {
		return
	}
	for _, hash := range r.order.failures(keys) {
		res.Warnings = append(res.Warnings, fmt.Sprintf("it refers to %s, which has failed and is not in the output", hash))
	}
}

// unpark writes the narinfo of a path that has waited.
func (r *run) unpark(ctx context.Context, p *parked, res *Result) (t task, err error) {
	t.name = p.key.infoName()
	*res = Result{Info: t.name}
	text, err := r.order.take(p)
	if err != nil {
		return t, err
	}
	*res = text.Result
	if err = r.publishParked(ctx, text, res); errors.Is(err, ErrChanged) {
		*res = Result{Info: t.name}
		err = r.rewriteAgain(ctx, &t, res)
	}
	return t, err
}

func (r *run) publishParked(ctx context.Context, text *parkedText, res *Result) error {
	w := &pathWork{name: text.Name, out: text.Out, object: text.Object, replaced: text.Replaced, encoding: text.Encoding, id: state.Identify(text.Name, text.Text), text: text.Text}
	var err error
	if w.info, err = narinfo.Parse(text.Text, r.cache.StoreDir); err != nil {
		return err
	}
	if w.next, err = narinfo.Parse(text.Next, r.cache.StoreDir); err != nil {
		return err
	}
	keys, err := r.references(ctx, w.info, w.next)
	if err != nil {
		return err
	}
	r.warnOfReferences(keys, res)
	// Somebody may have found that no narinfo names the NAR, and deleted it meanwhile.
	if _, err := r.out.Stat(ctx, w.next.URL); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", w.next.URL, ErrChanged)
	} else if err != nil {
		return asOutput(err)
	}
	return r.publish(ctx, w, res)
}
