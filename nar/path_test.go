package nar_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"narseal/nar"
	"narseal/nar/nartest"
)

// treeOfDirectories is a tree with directories inside each other, empty ones too.
func treeOfDirectories(r *rand.Rand, depth int) nartest.Node {
	if depth == 0 || r.IntN(4) == 0 {
		return nartest.File("x")
	}
	dir := nartest.Dir{}
	for range r.IntN(4) {
		dir[strings.Repeat(string(rune('a'+r.IntN(26))), 1+r.IntN(3))] = treeOfDirectories(r, depth-1)
	}
	return dir
}

// Every EntryPath has the text of Path, at once and when the archive is at its end, whichever entries were asked for it.
func TestEntryPath(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 0))
		archive := nartest.Tree(treeOfDirectories(random, 6))
		every := 1 + random.IntN(4)
		var paths []nar.Path
		var want []string
		r := nar.NewReader(bytes.NewReader(archive))
		for {
			_, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if random.IntN(every) > 0 {
				continue
			}
			p := r.EntryPath()
			if p.String() != r.Path() {
				t.Fatalf("seed %d: path %q, want %q", seed, p, r.Path())
			}
			paths, want = append(paths, p), append(want, r.Path())
		}
		for i, p := range paths {
			text, err := p.MarshalText()
			var pieces strings.Builder
			p.Pieces(func(s string) { pieces.WriteString(s) })
			if pieces.String() != want[i] || p.String() != want[i] || p.Len() != len(want[i]) || p.Short() != want[i] || string(text) != want[i] || err != nil {
				t.Errorf("seed %d: in the end path %q of %d bytes, short %q, marshaled %q, %v; want %q",
					seed, p, p.Len(), p.Short(), text, err, want[i])
			}
		}
	}
}

func TestPathJoin(t *testing.T) {
	for _, test := range [][2]string{{"", "a/b"}, {"/", "/a/b"}, {"x/y", "x/y/a/b"}, {"/x", "/x/a/b"}} {
		p := nar.NewPath(test[0])
		var pieces strings.Builder
		p.Pieces(func(s string) { pieces.WriteString(s) })
		if pieces.String() != test[0] || p.String() != test[0] || p.Len() != len(test[0]) {
			t.Errorf("path %q of %d bytes, want %q", p, p.Len(), test[0])
		}
		if q := p.Join("a").Join("b"); q.String() != test[1] || q.Len() != len(test[1]) || fmt.Sprintf("%q", q) != fmt.Sprintf("%q", test[1]) {
			t.Errorf("joined to %q of %d bytes, want %q", q, q.Len(), test[1])
		}
	}
}

// A long path is shown by its end, and a shorter one if it has to be escaped.
func TestPathShort(t *testing.T) {
	for letter, most := range map[string]int{"x": 1024, "\xff": 256, "\x1b": 256, "\u202e": 256} {
		p := nar.NewPath("/")
		for p.Len() <= 3000 {
			whole := p.String()
			if len(whole) <= most && p.Short() != whole {
				t.Fatalf("%d bytes are shown as %q", len(whole), p.Short())
			}
			if len(whole) > most {
				end := whole[len(whole)-most:]
				if p.Short() != "…"+end[strings.IndexByte(end, '/'):] && len(whole) > 1024 {
					t.Fatalf("%d bytes are shown as %q", len(whole), p.Short())
				}
			}
			p = p.Join(strings.Repeat(letter, p.Len()%47+1))
		}
	}
}

// The paths of many entries in deep directories take memory for the names, not for the texts.
func TestPathsShareDirectories(t *testing.T) {
	dir := nar.NewPath("/")
	name := strings.Repeat("x", 255)
	for range 16_000 {
		dir = dir.Join(name)
	}
	var kept []nar.Path
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range 1000 {
		kept = append(kept, dir.Join(fmt.Sprint(i)))
		_ = kept[len(kept)-1].Short()
	}
	runtime.ReadMemStats(&after)
	// A text has 4 MB, and its short form a thousandth of that. The race detector allocates too.
	if got := after.TotalAlloc - before.TotalAlloc; got > 32<<20 {
		t.Errorf("%d bytes allocated for 1000 paths", got)
	}
	if got := kept[999].Len(); got != 16_000*256+4 {
		t.Errorf("a path has %d bytes", got)
	}
}
