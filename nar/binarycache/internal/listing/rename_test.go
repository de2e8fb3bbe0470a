package listing

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	listFrom = "llllllllllllllllllllllllllllllll"
	listTo   = "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
)

func listRename(s string) string { return strings.ReplaceAll(s, listFrom, listTo) }

// keepsOrder says whether the entries of every directory are in the same order with their new names. Its argument is an
// entry of a listing, as encoding/json decodes it into maps; keys of structs would match in any case of letters.
func keepsOrder(entry any) bool {
	node, _ := entry.(map[string]any)
	entries, _ := node["entries"].(map[string]any)
	last := ""
	for i, name := range slices.Sorted(maps.Keys(entries)) {
		renamed := listRename(name)
		if i > 0 && renamed <= last || !keepsOrder(entries[name]) {
			return false
		}
		last = renamed
	}
	return true
}

// What is renamed while it passes is what replacing in the whole text gives, and it is JSON whose entries keep their
// order. What encoding/json refuses is refused.
func FuzzListing(f *testing.F) {
	entry := `{"type":"regular","size":3,"narOffset":400}`
	for _, s := range []string{
		`{"version":1,"root":{"type":"directory","entries":{"` + listFrom + `-lib":` + entry + `,"x":{"type":"symlink","target":"/nix/store/` + listFrom + `"}}}}`,
		`{"root":{"entries":{"` + listFrom + `":` + entry + `,"l":{"entries":{}}}},"version":1}`,
		`{"root":{"entries":{"b":{},"a":{"target":"` + listFrom + `"}}}}`,
		`{"root":{"entries":{"kz":{},"` + listFrom + `":{}}}}`, `{"root":{"entRies":{"kz":{},"` + listFrom + `":{}}}}`,
		`{"root":{"entries":{"kz":{}},"entries":{"` + listFrom + `":{}}}}`,
		"{\"version\":1}", "[1,-2.5e3,true,null,\"\\u006c\",[],{}]\n", ` { "root" : { "entries" : { } } } `, `{"root":{"entries":{"a":{},"a":{}}}}`,
		`{"root":{"entries":{"\ud800":{},"\u0000":{}}}}`, "", "garbage", `{"root":`, `{"a"}`, `{"a":1,}`, `[1,]`, `"` + listFrom + `"`, "1 2",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var out bytes.Buffer
		changed, err := Rename(&out, bytes.NewReader(b), listRename)
		whole := listRename(string(b))
		if err != nil {
			return
		}
		if !json.Valid(b) {
			t.Fatalf("%q is no JSON, and is taken", b)
		}
		if out.String() != whole || changed != (whole != string(b)) {
			t.Fatalf("got %q, changed %v, want %q", out.Bytes(), changed, whole)
		}
		// encoding/json decodes what is not UTF-8 to U+FFFD, which sorts elsewhere.
		var l map[string]any
		if json.Unmarshal(b, &l) == nil && changed && utf8.Valid(b) && !keepsOrder(l["root"]) {
			t.Fatalf("entries have moved in %q", b)
		}
	})
}

// However a listing is made, it takes little memory.
func TestListingMemory(t *testing.T) {
	const size = 4 << 20
	repeat := func(before, s, after string) io.Reader {
		return io.MultiReader(strings.NewReader(before), strings.NewReader(strings.Repeat(s, size/len(s))), strings.NewReader(after))
	}
	for name, c := range map[string]struct {
		r    io.Reader
		want string
	}{
		"arrays":        {repeat("", "[", ""), "levels"},
		"directories":   {repeat(`{"root":`, `{"entries":{"a":`, ""), "levels"},
		"a long string": {repeat(`{"root":"`, "a", ""), "a string of more than"},
		"a long name":   {strings.NewReader(`{"root":{"entries":{"` + strings.Repeat("a", 256) + `":{}}}}`), "a name of 256 bytes"},
		"a long number": {repeat("", "1", ""), "a literal of more than"},
		"many keys":     {repeat(`{"a":1`, `,"a":1`, `}`), ""},
		"many entries":  {repeat(`{"root":{"entries":{"`+listFrom+`":{}`, `,"x":{}`, `}}}`), "not in order"},
		"blanks":        {repeat("", " ", ""), "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			peak := uint64(0)
			_, err := Rename(io.Discard, &sampling{c.r, &peak, 0}, listRename)
			runtime.ReadMemStats(&after)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if peak > before.HeapInuse+8<<20 {
				t.Errorf("%d KiB of memory", (peak-before.HeapInuse)>>10)
			}
		})
	}
}

// A sampling reader notes how much is on the heap, after a collection, some times.
type sampling struct {
	io.Reader
	peak *uint64
	n    int
}

func (s *sampling) Read(p []byte) (int, error) {
	if s.n++; s.n%256 == 0 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		*s.peak = max(*s.peak, m.HeapInuse)
	}
	return s.Reader.Read(p)
}
