package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"narseal/nar/binarycache/cachetest"
	"narseal/nar/nartest"
)

// A server that leaves out references, or a whole narinfo, when a closure is made does not keep paths out of the run.
func TestClosureOfLiar(t *testing.T) {
	root := cachetest.Path{Base: strings.Repeat("0", 32) + "-root", References: []string{strings.Repeat("1", 32) + "-dep"}, NAR: nartest.Tree(nartest.File("root"))}
	dep := cachetest.Path{Base: strings.Repeat("1", 32) + "-dep", NAR: nartest.Tree(nartest.File("dep"))}
	objects := map[string]string{}
	for _, p := range []cachetest.Path{root, dep} {
		all, err := cachetest.Objects(p)
		if err != nil {
			t.Fatal(err)
		}
		for name, text := range all {
			objects[name] = text
		}
	}
	for _, lie := range []int{0, 1, 2} { // which of the two answers
		for _, missing := range []bool{false, true} {
			var asked atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				name := strings.TrimPrefix(r.URL.Path, "/")
				text, ok := objects[name]
				if name == root.Base[:32]+".narinfo" && int(asked.Add(1)) == lie {
					text, ok = strings.Replace(text, "References: "+dep.Base, "References: ", 1), !missing
				}
				if !ok {
					w.WriteHeader(http.StatusNotFound)
				}
				w.Write([]byte(text))
			}))
			for _, args := range [][]string{{"verify"}, {"repair", "--output", t.TempDir()}} {
				asked.Store(0)
				args = append([]string{"cache"}, append(args, "--closure", "--paths", "-", server.URL)...)
				status, stdout, stderr := narseal(t, []byte(root.Base), args...)
				switch {
				case lie == 0 && (status != 0 || strings.Contains(stderr, "error")):
					t.Errorf("%s: no lie: status %d\n%s%s", args, status, stdout, stderr)
				case lie > 0 && !strings.Contains(stderr, "the cache does not have 1 path") && (status != 1 || !strings.Contains(stderr, "lists other references")):
					t.Errorf("%s: lie %d, missing %v: status %d\n%s%s", args, lie, missing, status, stdout, stderr)
				}
			}
			server.Close()
		}
	}
}
