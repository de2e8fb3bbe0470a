package binarycache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"sync"

	"narseal/nar/binarycache/internal/encoding"
	"narseal/nar/binarycache/internal/spill"
	"narseal/nar/binarycache/narinfo"
)

// errLater is returned for a path that gets another narinfo's name: it waits until all paths are known.
var errLater = errors.New("its turn comes later")

// renamed has the narinfos that the rules give other names. They wait until every other path is done, so that it does
// not depend on the order of the listing who has a name:
//
//   - a path that keeps its name has it before any that is renamed;
//   - of several paths that would get one name, none gets it.
//
// Each narinfo is read once all the same: its text waits in a spill. There are about as many as there are rules.
type renamed struct {
	mu    sync.Mutex
	text  spill.Buffer
	list  []task
	seen  map[string]bool // names that keep theirs, where the paths of a run are given one by one
	names map[string]int  // how many paths want a name
	moved map[string]bool // names that are left
}

// renamedInfo is a narinfo that waits.
type renamedInfo struct {
	object   Object // without its name
	encoding encoding.Encoding
	out      string // its new name
	offset   int64  // of its contents in the spill, in bytes
	size     int
}

// add keeps a narinfo for later.
func (n *renamed) add(name, out string, o Object, e encoding.Encoding, b []byte) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.names == nil {
		n.names, n.moved = map[string]int{}, map[string]bool{}
	}
	if n.moved[name] {
		return nil // it was read again
	}
	info := &renamedInfo{object: o, encoding: e, out: out, offset: n.text.Size(), size: len(b)}
	if _, err := n.text.Write(b); err != nil {
		return err
	}
	n.list = append(n.list, task{name: name, renamedInfo: info})
	n.moved[name] = true
	n.names[out]++
	return nil
}

// keeps notes a name that a path keeps.
func (n *renamed) keeps(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.seen == nil {
		n.seen = map[string]bool{}
	}
	n.seen[name] = true
}

// tasks goes through what waits, in the order of the old names.
func (n *renamed) tasks() iter.Seq[task] {
	slices.SortFunc(n.list, func(a, b task) int { return strings.Compare(a.name, b.name) })
	return slices.Values(n.list)
}

// read returns a narinfo that waited.
func (n *renamed) read(i *renamedInfo) ([]byte, error) {
	b := make([]byte, i.size)
	if len(b) == 0 {
		return b, nil
	}
	if got, err := n.text.ReadAt(b, i.offset); got < len(b) {
		return nil, err
	}
	return b, nil
}

func (n *renamed) close() { n.text.Close() }

// checkName says whether a path may get the name that the rules give it, as far as the input knows.
func (r *run) checkName(ctx context.Context, t *task, n *narinfo.Info) error {
	if r.renamed.names[t.out] > 1 {
		return fmt.Errorf("%s: %w: two paths would become %s", n.StorePath, ErrConflict, t.out)
	}
	if r.inPlace || r.renamed.moved[t.out] {
		return nil // in place, isThere sees who has it
	}
	kept := r.renamed.seen[t.out]
	if r.Hashes == nil {
		o, err := r.in.Stat(ctx, t.out)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		kept = err == nil && (r.Since.IsZero() || o.ModTime.After(r.Since))
	}
	if kept {
		return fmt.Errorf("%s: %w: the path of %s keeps it", n.StorePath, ErrConflict, t.out)
	}
	return nil
}
