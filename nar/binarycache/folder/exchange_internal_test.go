package folder

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"narseal/nar/binarycache"
)

// Other programs rename their files over an object while writers exchange it. The exchanges end, and the object is the one
// that was written last.
func TestExchangeAmongOthers(t *testing.T) {
	dir := t.TempDir()
	store, name := New(dir), filepath.Join(dir, "object")
	const writes, writers = 3000, 3
	rename := func(text string) {
		if err := errors.Join(os.WriteFile(name+"-new", []byte(text), 0o666), os.Rename(name+"-new", name)); err != nil {
			t.Error(err)
		}
	}
	rename("0")
	var ended atomic.Bool
	var put sync.Map
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := 0; !ended.Load(); i++ {
				text := fmt.Sprintf("writer %d, %d", w, i)
				r, object, err := store.Open(t.Context(), "object")
				if err != nil {
					t.Error(err)
					return
				}
				r.Close()
				put.Store(text, true)
				c := binarycache.Condition{Version: object.Version}
				_, err = store.Put(t.Context(), binarycache.Object{Name: "object", Size: int64(len(text))}, strings.NewReader(text), c)
				if err != nil && !errors.Is(err, binarycache.ErrChanged) {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range writes {
		rename(fmt.Sprint(i))
	}
	ended.Store(true)
	all.Wait()
	got, err := os.ReadFile(name)
	if _, ours := put.Load(string(got)); err != nil || !ours && string(got) != fmt.Sprint(writes-1) {
		t.Errorf("the object is %q, %v", got, err)
	}
	if list, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(list) > 0 {
		t.Errorf("left: %v, %v", list, err)
	}
}
