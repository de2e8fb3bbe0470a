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
	"narseal/nar/storepath"
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
	known bool            // all paths are: none is added any more
}

// renamedInfo is a narinfo that waits.
type renamedInfo struct {
	object   Object // without its name
	encoding encoding.Encoding
	out      string // its new name
	offset   int64  // of its contents in the spill, in bytes
	size     int
}

// add keeps a narinfo for later, and returns errLater.
func (n *renamed) add(name, out string, o Object, e encoding.Encoding, b []byte) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.names == nil {
		n.names, n.moved = map[string]int{}, map[string]bool{}
	}
	if n.known { // the path had another name when it was read first
		return fmt.Errorf("%s: %w", name, ErrChanged)
	}
	info := &renamedInfo{object: o, encoding: e, out: out, offset: n.text.Size(), size: len(b)}
	if _, err := n.text.Write(b); err != nil {
		return err
	}
	n.list = append(n.list, task{name: name, renamedInfo: info})
	if !n.moved[name] { // else the caller has listed it twice
		n.names[out]++
	}
	n.moved[name] = true
	return errLater
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
	n.known = true
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

// rename applies the rules to a base name, or to a text with several.
func (r *run) rename(s string) string {
	if r.Rename == nil {
		return s
	}
	return r.Rename(s)
}

// moved returns the name that the rules give to a narinfo, and whether it is another one.
func (r *run) moved(n *narinfo.Info) (string, bool) {
	out := n.Base
	if r.out != nil {
		out = r.rename(out)
	}
	if len(out) < storepath.HashLen {
		return "", true
	}
	return narinfo.Name(out), narinfo.Name(out) != narinfo.Name(n.Base)
}
