package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"narseal/nar/binarycache/cachetest"
	"narseal/nar/nartest"
)

// A server that answers 403 Forbidden may mean that an object is missing. If it gives access to nothing, or refuses at the end
// what it gave before, the run must not end as if its paths were missing.
func TestAccessDenied(t *testing.T) {
	var paths []cachetest.Path
	var list strings.Builder
	for i := range 8 {
		p := cachetest.Path{Base: fmt.Sprintf("%032d-x", i), NAR: nartest.Tree(nartest.File("x"))}
		paths = append(paths, p)
		fmt.Fprintln(&list, p.Base)
	}
	objects, err := cachetest.Objects(paths...)
	if err != nil {
		t.Fatal(err)
	}
	const none, all = "gives access to no narinfo", "no longer gives access"
	for _, c := range []struct {
		name    string
		refused func(narinfos []string, name string) bool // given the narinfos that were asked for
		status  int
		says    string
	}{
		{"nothing", func([]string, string) bool { return false }, statusDone, ""},
		{"one path", func(_ []string, name string) bool { return strings.HasSuffix(name, "3.narinfo") }, statusDone, "does not have 1 path of --paths; --verbose lists them; it refused access to some"},
		{"all", func([]string, string) bool { return true }, statusError, none},
		{"all after three", func(narinfos []string, _ string) bool { return len(narinfos) > 3 }, statusError, all},
		{"all but the last", func(narinfos []string, _ string) bool { return len(narinfos) < 8 }, statusDone, "does not have 7 paths"},
	} {
		for _, command := range []string{"verify", "repair --dry-run", "verify --closure --shard 1/2"} { // which has no path
			if c.status == statusDone && strings.Contains(command, "closure") {
				continue
			}
			t.Run(c.name+", "+command, func(t *testing.T) {
				var mu sync.Mutex
				var narinfos []string
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					name := strings.TrimPrefix(r.URL.Path, "/")
					if strings.HasSuffix(name, ".narinfo") {
						mu.Lock()
						defer mu.Unlock()
						narinfos = append(narinfos, name)
						if c.refused(narinfos, name) {
							http.Error(w, "no", http.StatusForbidden)
							return
						}
					}
					fmt.Fprint(w, objects[name])
				}))
				defer server.Close()
				args := append([]string{"cache"}, strings.Fields(command)...)
				status, stdout, stderr := narseal(t, []byte(list.String()), append(args, "-j", "1", "--paths", "-", "--ledger", filepath.Join(t.TempDir(), "ledger"), server.URL)...)
				if status != c.status || !strings.Contains(stderr, c.says) || c.says == "" && stderr != "" {
					t.Errorf("status %d, want %d and %q:\n%s%s", status, c.status, c.says, stdout, stderr)
				}
			})
		}
	}
}
