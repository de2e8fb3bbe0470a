package binarycache

import (
	"context"
	"io"
	"strings"
	"testing"
)

// oneInfo is a store with a cache of one path.
type oneInfo struct{ Store }

func (oneInfo) Open(_ context.Context, name string) (io.ReadCloser, Object, error) {
	return io.NopCloser(strings.NewReader("StoreDir: /nix/store\n")), Object{Name: name, Size: -1}, nil
}

// A run that forgets a path fails, whatever the mistake is.
func TestForgottenPath(t *testing.T) {
	for want, err := range map[string]error{"": nil, "2 paths were found, and 1 have a result": errLater} {
		r := &run{in: oneInfo{}}
		r.Hashes = func(yield func(string, error) bool) {
			_ = yield(strings.Repeat("a", 32), nil) && yield(strings.Repeat("b", 32), nil)
		}
		n := 0
		r.work = func(_ context.Context, _ *task, res *Result) error {
			if n++; n == 2 {
				return err
			}
			return nil
		}
		got := ""
		if err := r.run(t.Context()); err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
