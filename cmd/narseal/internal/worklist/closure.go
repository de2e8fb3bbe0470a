package worklist

import (
	"context"
	"fmt"
	"iter"
	"sync"
)

// MaxClosure is the maximum number of paths of a closure, including paths outside that members refer to. Each takes up
// to 40 bytes.
const MaxClosure = 1 << 22

// Closure visits the paths of roots and everything that they refer to, directly or indirectly, each once. It yields the
// hash parts of those in shard. It yields the first ones immediately, and searches on while they are processed.
//
// references returns the base names that a path refers to. Up to jobs calls run at the same time, with up to as many
// results in memory. It is called for the paths of all shards, since paths of other shards may lead to paths of this
// one. If it returns an error, Closure finds as many other paths as it can, and yields the first error at the end. The
// paths that are found are added to members.
func Closure(ctx context.Context, roots *List, shard Shard, jobs int, references func(context.Context, Hash) ([]string, error), members *Members) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		c := &closure{members: members, shard: shard, yield: yield}
		for h := range roots.All() {
			if !c.add(h) {
				return
			}
		}
		failed, ok := c.search(ctx, max(1, jobs), references)
		if ok && failed != nil {
			yield("", fmt.Errorf("closure: %w", failed))
		}
	}
}

type closure struct {
	members *Members
	shard   Shard
	yield   func(string, error) bool
}

// add adds a path, and reports whether the search continues.
func (c *closure) add(h Hash) bool {
	n, added := c.members.add(h)
	if !added {
		return true
	}
	if n > MaxClosure {
		c.yield("", fmt.Errorf("closure: more than %d paths: list them by --paths without --closure", MaxClosure))
		return false
	}
	return !c.shard.Has(h) || c.yield(h.String(), nil)
}

// A found is the result of a call of references.
type found struct {
	names []string
	err   error
}

// search calls references for each member, in the order in which they are found. It returns the first error, and
// whether the search was completed.
func (c *closure) search(ctx context.Context, jobs int, references func(context.Context, Hash) ([]string, error)) (failed error, ok bool) {
	stopped, stop := context.WithCancel(ctx)
	paths, results := make(chan Hash), make(chan found)
	var workers sync.WaitGroup
	defer func() {
		stop()
		close(paths)
		workers.Wait()
	}()
	for next, running, started := 0, 0, 0; ; {
		var send chan<- Hash // nil if there is nothing to send
		h, more := c.members.at(next)
		if more && running < jobs {
			send = paths
		}
		if !more && running == 0 {
			return failed, true
		}
		if send != nil && started == running {
			started++
			workers.Go(func() { work(stopped, paths, results, references) })
		}
		select {
		case send <- h:
			next++
			running++
		case f := <-results:
			running--
			if failed == nil {
				failed = f.err
			}
			for _, name := range f.names {
				if h, err := parsePath(name); err == nil && !c.add(h) {
					return nil, false
				}
			}
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			c.yield("", ctx.Err())
			return nil, false
		}
	}
}

// work calls references for paths until there are no more or ctx ends.
func work(ctx context.Context, paths <-chan Hash, results chan<- found, references func(context.Context, Hash) ([]string, error)) {
	for h := range paths {
		names, err := references(ctx, h)
		select {
		case results <- found{names, err}:
		case <-ctx.Done():
			return
		}
	}
}
