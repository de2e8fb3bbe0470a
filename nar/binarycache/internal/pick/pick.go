// Package pick picks elements of a list, of which several are looked at concurrently.
package pick

import (
	"iter"
	"sync"
)

// From iterates over the elements of list for which keep returns true, in no particular order. It calls keep for up to n
// elements at the same time, and list in a goroutine of its own. Errors of list are passed on.
func From(list iter.Seq2[string, error], n int, keep func(string) bool) iter.Seq2[string, error] {
	type element struct {
		name string
		err  error
	}
	return func(yield func(string, error) bool) {
		in, out, stop := make(chan string), make(chan element), make(chan struct{})
		var workers sync.WaitGroup
		workers.Go(func() {
			defer close(in)
			for name, err := range list {
				if err != nil {
					select {
					case out <- element{"", err}:
						continue
					case <-stop:
						return
					}
				}
				select {
				case in <- name:
				case <-stop:
					return
				}
			}
		})
		for range max(1, n) {
			workers.Go(func() {
				for name := range in {
					if keep(name) {
						select {
						case out <- element{name, nil}:
						case <-stop:
							return
						}
					}
				}
			})
		}
		go func() {
			workers.Wait()
			close(out)
		}()
		defer workers.Wait()
		defer close(stop)
		for e := range out {
			if !yield(e.name, e.err) {
				return
			}
		}
	}
}
