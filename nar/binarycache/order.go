package binarycache

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"narseal/nar/binarycache/internal/encoding"
	"narseal/nar/binarycache/internal/order"
	"narseal/nar/binarycache/narinfo"
	"narseal/nar/binarycache/state"
	"narseal/nar/storepath"
)

// errParked is returned for a path whose narinfo waits for those that it refers to. Its other objects are written.
var errParked = errors.New("its narinfo comes later")

// parkedText is what is needed to finish a parked path.
type parkedText struct {
	Name, Out  string
	Object     Object
	Replaced   *Object
	Encoding   encoding.Encoding
	Text, Next []byte // narinfos
	Result     Result
}

// Limits on the references, and their references, that a worker handles before the path that it took.
const (
	maxAhead     = 64      // paths
	maxAheadText = 1 << 18 // bytes of their narinfos
)

// newOrder returns an order, or nil if the run does not need one.
func newOrder(r *run) *order.Order {
	if r.out == nil || r.DryRun || r.inPlace && r.Rename == nil {
		return nil
	}
	ahead := !r.inPlace
	return order.New(ahead, ahead && r.Hashes == nil && r.Select == nil && r.Since.IsZero(), r.TempFile)
}

// references returns the paths whose narinfos must be written before that of n, which becomes next: its references
// before and after the rules. In place, these are only the ones that get another name.
func (r *run) references(ctx context.Context, n, next *narinfo.Info) (keys []order.Key, err error) {
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
		keys = append(keys, order.KeyOf(ref))
	}
	if next != nil && !r.inPlace {
		for _, ref := range next.References {
			if ref != next.Base && ref != n.Base {
				keys = append(keys, order.KeyOf(ref))
			}
		}
	}
	slices.SortFunc(keys, func(a, b order.Key) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(keys), nil
}

// isMoving reports whether a reference is to a path that the run renames.
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

// referencesFirst works on those references of a path that no worker has begun.
func (r *run) referencesFirst(ctx context.Context, t *task, w *pathWork) error {
	if r.order == nil || !r.order.Ahead || t.renamedInfo != nil || t.ahead >= maxAhead || t.aheadText+len(w.text) > maxAheadText {
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
		if ok, wasListed := r.order.Begin(k); ok {
			r.do(ctx, task{name: k.InfoName(), ahead: t.ahead + 1, aheadText: t.aheadText + len(w.text), maybe: !wasListed})
		}
	}
	return nil
}

// parkPath parks a path whose narinfo must come after others. It returns nil if none must.
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
		r.order.Expect(keys)
	}
	b, err := json.Marshal(t)
	if err != nil {
		return err
	}
	ok, err := r.order.Park(order.KeyOf(w.name), keys, b)
	if err != nil {
		return err
	}
	if ok {
		return errParked
	}
	r.warnOfReferences(keys, res)
	return nil
}

func (r *run) warnOfReferences(keys []order.Key, res *Result) {
	if r.inPlace {
		return
	}
	for _, hash := range r.order.Failures(keys) {
		res.Warnings = append(res.Warnings, fmt.Sprintf("it refers to %s, which has failed and is not in the output", hash))
	}
}

// unpark writes the narinfo of a parked path.
func (r *run) unpark(ctx context.Context, p *order.Parked, res *Result) (t task, err error) {
	t.name = p.InfoName()
	*res = Result{Info: t.name}
	b, err := r.order.Take(p)
	if err != nil {
		return t, err
	}
	text := new(parkedText)
	if err := json.Unmarshal(b, text); err != nil {
		return t, err
	}
	if text.Out != text.Name {
		t.renamedInfo = &renamedInfo{out: text.Out} // it is not to wait for the others again
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
	// Another program may have deleted the NAR meanwhile, because no narinfo named it.
	if _, err := r.out.Stat(ctx, w.next.URL); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", w.next.URL, ErrChanged)
	} else if err != nil {
		return err
	}
	return r.publish(ctx, w, res)
}
