package cachecmd

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"narseal/cmd/narseal/internal/ledger"
	"narseal/nar/binarycache"
	"narseal/nar/binarycache/cachetest"
)

// slow is a store that takes time to put an object.
type slow struct {
	*cachetest.Memory
	time atomic.Int64
}

func (s *slow) Put(ctx context.Context, o binarycache.Object, body io.ReadSeeker, c binarycache.Condition) (binarycache.Version, error) {
	select {
	case <-time.After(time.Duration(s.time.Load())):
	case <-ctx.Done():
		return "", ctx.Err()
	}
	return s.Memory.Put(ctx, o, body, c)
}

// A run that is stopped still writes its ledger, whether its work ends or hangs.
func TestLedgerOfStoppedRun(t *testing.T) {
	for _, hangs := range []bool{false, true} {
		t.Run(fmt.Sprint("hangs ", hangs), func(t *testing.T) {
			file, err := os.CreateTemp(t.TempDir(), "")
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			s := &slow{Memory: cachetest.NewMemory(nil)}
			l, err := ledger.OpenObject(ctx, s, "l", "l", file, ledger.Options{Command: "cache verify"})
			if err != nil {
				t.Fatal(err)
			}
			for i := range 3 {
				if err := l.Add(ledger.Line{StorePath: fmt.Sprintf("/nix/store/%032d-x", i), Status: "missing"}); err != nil {
					t.Fatal(err)
				}
			}
			s.time.Store(int64(5 * maxWorkWait))
			cancel()
			r := &run{ledger: l}
			ended := make(chan struct{})
			if !hangs {
				go func() {
					defer close(ended)
					if err := l.Close(); err != nil {
						t.Error(err)
					}
				}()
			}
			r.end(ended)
			if n := strings.Count(s.Objects()["l"], "\n"); n != 4 {
				t.Errorf("%d lines, want 4", n)
			}
		})
	}
}
