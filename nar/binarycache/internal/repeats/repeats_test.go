package repeats

import (
	"fmt"
	"testing"
)

func TestRepeats(t *testing.T) {
	add := func(n *NARs, url, path string, narSize, size int64, ok bool) {
		t.Helper()
		if err := n.Add(url, path, narSize, size); (err == nil) != ok {
			t.Errorf("%s of %s: %v", url, path, err)
		}
	}
	var n NARs
	add(&n, "nar/a", "a", Free, 100, true)
	for range 10 {
		add(&n, "nar/a", "a", Free, 100, true) // the same path again
	}
	add(&n, "nar/a", "b", Free/2, 100, true)
	add(&n, "nar/a", "c", Free/2, 100, true)
	add(&n, "nar/a", "d", 100*maxRatio, 100, false) // which is one byte too much
	add(&n, "nar/a", "d", 100*maxRatio-2, 100, true)
	add(&n, "nar/a", "e", 1, 100, true)
	add(&n, "nar/a", "f", maxRatio, 100, false)
	add(&n, "nar/g", "g", Free, 1<<30, true) // other NARs are read all the same, and their files count
	add(&n, "nar/a", "f", Free, 100, true)

	// A size that is not known counts for nothing, and no size overflows.
	n = NARs{}
	add(&n, "nar/a", "a", 1<<62, -1, true)
	add(&n, "nar/a", "b", 1<<62, -1, false)
	add(&n, "nar/a", "b", Free, -1, true)
	add(&n, "nar/a", "c", 1000, -1, false)
}

// Many paths with a NAR of their own take no more memory than few.
func TestManyNARs(t *testing.T) {
	var n NARs
	for i := range 4 * remembered {
		s := fmt.Sprint(i)
		if err := n.Add(s, s, 1<<40, 100); err != nil {
			t.Fatal(err)
		}
	}
	if len(n.table) != remembered {
		t.Errorf("%d entries", len(n.table))
	}
}
