package nar_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"runtime"
	"runtime/debug"
	"testing"

	"narseal/nar"
	"narseal/nar/nartest"
)

// Reading or writing an entry allocates nothing, whatever its type and depth.
func TestAllocations(t *testing.T) {
	data := nartest.Tree(manyEntries(20000))
	nr, w := nar.NewReader(bytes.NewReader(data)), nar.NewWriter(io.Discard)
	step := func() {
		e, err := nr.Next()
		if err == nil {
			err = w.WriteEntry(e)
		}
		for err == nil && nr.Remaining() > 0 {
			var b []byte
			if b, err = nr.Peek(1); err == nil {
				_, err = w.Write(b)
				nr.Discard(len(b))
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		step() // the buffers, and the stack of names
	}
	if n := testing.AllocsPerRun(10000, step); n != 0 {
		t.Errorf("%v allocations an entry", n)
	}
	one := make([]byte, 1)
	if _, err := nr.Next(); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = nr.Read(one) }); n != 0 {
		t.Errorf("%v allocations a read", n)
	}
}

// allocated returns how many bytes f allocates, including those that it frees.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// A length field causes no allocation: any length, in any field of an archive that then ends, costs the buffer and
// gives an error.
func TestHostileLengths(t *testing.T) {
	data := nartest.Tree(nartest.Dir{
		"d": nartest.Dir{"f": nartest.File("abc"), "x": nartest.Exec("")},
		"l": nartest.Symlink("target"),
	})
	for at := 0; at+8 <= len(data); at += 8 {
		for _, n := range []uint64{1 << 16, 1 << 31, 1<<32 - 1, 1 << 40, 1<<63 - 8, 1<<63 - 1, 1 << 63, 1<<64 - 8, 1<<64 - 1} {
			b := bytes.Clone(data)
			binary.LittleEndian.PutUint64(b[at:], n)
			var err error
			if got := allocated(func() { _, err = readAll(bytes.NewReader(b)) }); got > 512<<10 {
				t.Errorf("length %d at %d: %d bytes allocated", n, at, got)
			}
			if _, ok := decode(b); (err == nil) != ok {
				t.Errorf("length %d at %d: %v, the oracle says %t", n, at, err, ok)
			}
		}
	}
}

// A million entries, and as many bytes of names as a hostile archive can have open at once, need a few megabytes.
func TestBoundedMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 200 MB")
	}
	const entries = 1 << 20
	name := []byte("00000000")
	entry := nartest.Strings("entry", "(", "name", string(name), "node", "(", "type", "symlink", "target", "t", ")", ")")
	digits := entry[bytes.Index(entry, name):][:len(name)]
	head, tail := nartest.Strings("nix-archive-1", "(", "type", "directory"), nartest.Strings(")")
	i := 0
	r := &generated{next: func() []byte {
		defer func() { i++ }()
		switch {
		case i == 0:
			return head
		case i <= entries:
			for d, n := len(digits)-1, i; d >= 0; d, n = d-1, n/10 {
				digits[d] = '0' + byte(n%10)
			}
			return entry
		case i == entries+1:
			return tail
		}
		return nil
	}}
	nr, w := nar.NewReader(r), nar.NewWriter(io.Discard)
	n := 0
	// Live memory after a forced collection, so that the generator's garbage does not count.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	live := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := live()
	for {
		e, err := nr.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if err := w.WriteEntry(e); err != nil {
			t.Fatal(err)
		}
		if n++; n%(entries/8) == 0 {
			if now := live(); now > before+2<<20 {
				t.Fatalf("%d bytes more in use after %d entries", now-before, n)
			}
		}
	}
	if err := w.Close(); err != nil || n != entries+1 {
		t.Errorf("%d entries, %v", n, err)
	}
}

// generated is an input that is generated while it is read.
type generated struct {
	next func() []byte
	rest []byte
}

func (g *generated) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if len(g.rest) == 0 {
			if g.rest = g.next(); g.rest == nil {
				break
			}
		}
		m := copy(p[n:], g.rest)
		g.rest, n = g.rest[m:], n+m
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func benchmark(b *testing.B, data []byte) {
	b.Run("read", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		for b.Loop() {
			nr := nar.NewReader(bytes.NewReader(data))
			var err error
			for err == nil {
				_, err = nr.Next()
			}
			if err != io.EOF {
				b.Fatal(err)
			}
		}
	})
	b.Run("rewrite", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		for b.Loop() {
			if err := rewrite(io.Discard, bytes.NewReader(data)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// A tree of 60,000 entries: files of at most 200 bytes, symlinks, directories.
func BenchmarkSmallFiles(b *testing.B) { benchmark(b, nartest.Tree(manyEntries(45000))) }

func BenchmarkBigFile(b *testing.B) { benchmark(b, nartest.Tree(nartest.File(make([]byte, 256<<20)))) }
