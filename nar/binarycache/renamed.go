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

// errLater is returned for a path whose narinfo gets another name: it waits until all paths are known.
var errLater = errors.New("it is renamed later")

// renamed holds the narinfos that the rules rename. They wait until every other path is done, so that the owner of a
// name does not depend on the order of the listing:
//
//   - a path that keeps its name has precedence over one that is renamed;
//   - if several paths would get the same name, none gets it.
//
// Each narinfo is still read only once: its text waits in a spill buffer. There are about as many as there are rules.
type renamed struct {
	mu    sync.Mutex
	text  spill.Buffer
	list  []task
	seen  map[string]bool // names that do not change, if the paths of the run are listed by the caller
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

// keeps records a name that does not change.
func (n *renamed) keeps(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.seen == nil {
		n.seen = map[string]bool{}
	}
	n.seen[name] = true
}

// tasks iterates over the waiting narinfos, in the order of their old names.
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

// checkName returns an error if, by the input, a path cannot get the name that the rules give it.
func (r *run) checkName(ctx context.Context, t *task, n *narinfo.Info) error {
	if r.renamed.names[t.out] > 1 {
		return fmt.Errorf("%s: %w: two paths would become %s", n.StorePath, ErrConflict, t.out)
	}
	if r.inPlace || r.renamed.moved[t.out] {
		return nil // in place, isThere finds out who has it
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
