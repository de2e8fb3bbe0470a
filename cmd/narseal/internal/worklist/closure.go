package worklist

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
)

// MaxClosure bounds the paths of a closure, which take up to 80 bytes each while it is searched.
const MaxClosure = 1 << 22

// Closure goes through the paths of roots and all that they refer to, directly or not, each once, and yields the hash
// parts of those in shard. The first ones come at once, and the search goes on while they are worked on.
//
// references returns the base names that a path refers to; up to jobs calls run at the same time. It is called for the
// paths of all shards: no shard knows otherwise what the paths of another one lead to. An error of it is yielded at the
// end, after everything that was found in spite of it. members gets the paths that are found.
func Closure(ctx context.Context, roots *List, shard Shard, jobs int, references func(context.Context, Hash) ([]string, error), members *Members) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		c := &closure{members: members, shard: shard, yield: yield}
		for h := range roots.All() {
			if !c.add(h) {
				return
			}
		}
		var failed error
		for len(c.queue) > 0 && !c.ended {
			batch := c.take(16 * max(1, jobs))
			found, err := readAll(ctx, batch, max(1, jobs), references)
			if ctx.Err() != nil {
				yield("", ctx.Err())
				return
			}
			if err != nil && failed == nil {
				failed = err
			}
			for _, names := range found {
				for _, name := range names {
					h, err := parsePath(name)
					if err == nil && !c.add(h) {
						return
					}
				}
			}
		}
		if failed != nil && !c.ended {
			yield("", fmt.Errorf("closure: %w", failed))
		}
	}
}

type closure struct {
	members *Members
	queue   []Hash // whose references are not known yet
	shard   Shard
	yield   func(string, error) bool
	ended   bool
}

// add notes a path, and reports whether the search goes on.
func (c *closure) add(h Hash) bool {
	n, added := c.members.add(h)
	if !added {
		return true
	}
	if n > MaxClosure {
		c.yield("", fmt.Errorf("closure: more than %d paths: list them by --paths without --closure", MaxClosure))
		c.ended = true
		return false
	}
	c.queue = append(c.queue, h)
	if c.shard.Has(h) && !c.yield(h.String(), nil) {
		c.ended = true
	}
	return !c.ended
}

// take takes up to n paths from the end of the queue, whose memory is used again.
func (c *closure) take(n int) []Hash {
	from := max(0, len(c.queue)-n)
	batch := append([]Hash(nil), c.queue[from:]...)
	c.queue = c.queue[:from]
	return batch
}

// readAll calls references for each path of a batch.
func readAll(ctx context.Context, batch []Hash, jobs int, references func(context.Context, Hash) ([]string, error)) ([][]string, error) {
	found := make([][]string, len(batch))
	next := make(chan int)
	var failed []error
	var mu sync.Mutex
	var workers sync.WaitGroup
	for range min(jobs, len(batch)) {
		workers.Go(func() {
			for i := range next {
				names, err := references(ctx, batch[i])
				if err != nil {
					mu.Lock()
					failed = append(failed, err)
					mu.Unlock()
				}
				found[i] = names
			}
		})
	}
	for i := range batch {
		next <- i
	}
	close(next)
	workers.Wait()
	return found, errors.Join(failed...)
}
