package binarycache_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"narseal/nar/binarycache"
	"narseal/nar/compression"
)

// A listing that expands to much more than its size, or is much longer than its NAR, is not read: it is made from the NAR.
func TestListingBound(t *testing.T) {
	a := hash("l") + "-a"
	random := rand.New(rand.NewPCG(1, 2))
	var many strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&many, `"%06d-%x":{"type":"regular","size":%d,"narOffset":%d},`, i, random.Uint64(), random.IntN(1e6), i*1000)
	}
	for what, c := range map[string]struct {
		text string
		read bool
		size int // of the file in the NAR
	}{
		"small":          {`{"version":1,"root":{"type":"regular","size":32,"narOffset":96},"x":"` + hash("l") + `"}`, true, 0},
		"usual":          {`{"version":1,"root":{"type":"directory","entries":{` + many.String() + `"z":{}}},"x":"` + hash("l") + `"}`, true, 8 << 20},
		"of another NAR": {`{"version":1,"root":{"type":"directory","entries":{` + many.String() + `"z":{}}},"x":"` + hash("l") + `"}`, false, 0},
		"blanks":         {`{"version":1` + strings.Repeat(" ", 16<<20) + `,"x":"` + hash("l") + `"}`, false, 16 << 20},
	} {
		dir := newCache(t, member{base: a, nar: nar(hash("l") + strings.Repeat("x", c.size))})
		var packed bytes.Buffer
		w, err := compression.Compress(&packed, compression.Zstd, compression.Options{Level: 1})
		if err != nil {
			t.Fatal(err)
		}
		w.Write([]byte(c.text))
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, hash("l")+".ls")
		if err := os.WriteFile(name, packed.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
		o := binarycache.RewriteOptions{}
		replacing(&o, hash("l"), hash("m"))
		rewrite(t, dir, o)
		got, err := os.ReadFile(filepath.Join(dir, hash("m")+".ls"))
		if err != nil {
			t.Fatal(err)
		}
		r, _, err := compression.Decompress(bytes.NewReader(got))
		if err != nil {
			t.Fatal(err)
		}
		var l struct{ X string }
		if err := json.NewDecoder(r).Decode(&l); err != nil || (l.X == hash("m")) != c.read {
			t.Errorf("%s: x is %q, %v", what, l.X, err)
		}
	}
}
