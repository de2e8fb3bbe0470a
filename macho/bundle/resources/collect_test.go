package resources

import "testing"

// Garbage is collected once for each time that every list has asked.
func TestCollection(t *testing.T) {
	for _, lists := range []int{1, 4} {
		var c collection
		for range lists {
			c.begin()
		}
		collected := 0
		for range 20 {
			c.ask(func() { collected++ })
		}
		if collected != 20/lists {
			t.Errorf("%d lists: %d times", lists, collected)
		}
		for range lists {
			c.end()
		}
		if c.ask(func() { collected++ }); collected != 20/lists+1 {
			t.Errorf("%d lists: nothing is collected after their end", lists)
		}
	}
}
