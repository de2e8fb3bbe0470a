package pick

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"
	"testing/synctest"
)

// numbers iterates over 0 to n-1, and then yields err, if it is not nil.
func numbers(n int, err error) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for i := range n {
			if !yield(fmt.Sprintf("%03d", i), nil) {
				return
			}
		}
		if err != nil {
			yield("", err)
		}
	}
}

func isOdd(name string) bool { return (name[2]-'0')%2 == 1 }

func TestFrom(t *testing.T) {
	failed := errors.New("failed")
	for _, n := range []int{0, 1, 3, 200} {
		for _, want := range []error{nil, failed} {
			var got, wanted []string
			var err error
			for name, e := range From(numbers(100, want), n, isOdd) {
				if e != nil {
					err = e
				} else {
					got = append(got, name)
				}
			}
			for name := range numbers(100, nil) {
				if isOdd(name) {
					wanted = append(wanted, name)
				}
			}
			if slices.Sort(got); err != want || !slices.Equal(got, wanted) {
				t.Errorf("%d at the same time: %q, %v, want %q, %v", n, got, err, wanted, want)
			}
		}
	}
}

// When the loop ends early, all goroutines end, whatever they wait for.
func TestFromEndsEarly(t *testing.T) {
	for _, stop := range []int{1, 5} {
		synctest.Test(t, func(t *testing.T) { // it fails if a goroutine is left
			n := 0
			for range From(numbers(100, errors.New("failed")), 3, isOdd) {
				if n++; n == stop {
					break
				}
			}
		})
	}
}
