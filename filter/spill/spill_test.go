package spill

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

// memFile is a File in memory that counts how many are open.
type memFile struct {
	b    []byte
	open *int
	fail error
}

func opener(open *int) func() (File, error) {
	return func() (File, error) {
		*open++
		return &memFile{open: open}, nil
	}
}

func (m *memFile) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(m.b).ReadAt(p, off)
}
func (m *memFile) Close() error { *m.open--; return m.fail }

func (m *memFile) WriteAt(p []byte, off int64) (int, error) {
	if end := off + int64(len(p)); end > int64(len(m.b)) {
		m.b = append(m.b, make([]byte, end-int64(len(m.b)))...)
	}
	return copy(m.b[off:], p), m.fail
}

func text(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

// What goes into a Buffer comes out, whatever fits memory and whatever is passed on before.
func TestBuffer(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	open := 0
	b := NewBuffer(Options{Memory: 3 << 20, Open: opener(&open)})
	for range 50 {
		data := text(rng.IntN(6 << 20))
		var out []byte
		sink := func(p []byte) error { out = append(out, p...); return nil }
		for at := 0; at < len(data); {
			n := min(1+rng.IntN(1<<20), len(data)-at)
			if err := b.Append(data[at:at+n], int64(len(data))); err != nil {
				t.Fatal(err)
			}
			at += n
			if !b.Spilled() && rng.IntN(4) == 0 {
				b.Drain(int64(rng.IntN(at+1)), sink)
			}
		}
		if spilled := len(data) > 3<<20; b.Spilled() != spilled || (open == 1) != spilled || b.Size() != int64(len(data)) {
			t.Fatalf("%d bytes: spilled %t, %d files, size %d", len(data), b.Spilled(), open, b.Size())
		}
		if limit := int64(3 << 20); b.Memory() > max(limit, 1<<20) {
			t.Fatalf("%d bytes take %d of memory", len(data), b.Memory())
		}
		if at := int64(len(data)) - 1; at > int64(len(out)) {
			if _, err := b.WriteAt([]byte{'!'}, at); err != nil {
				t.Fatal(err)
			}
			data[at] = '!'
			var one [1]byte
			if _, err := b.ReadAt(one[:], at); err != nil && err != io.EOF || one[0] != '!' {
				t.Fatalf("read %q, %v", one, err)
			}
			if n, err := b.WriteAt([]byte("12"), at); err == nil {
				t.Fatalf("wrote %d bytes past the end", n)
			}
		}
		if err := b.DrainAll(sink); err != nil || !bytes.Equal(out, data) {
			t.Fatalf("%d bytes: got %d back, %v", len(data), len(out), err)
		}
		if err := b.Reset(); err != nil || b.Size() != 0 || b.Spilled() || open != 0 {
			t.Fatalf("reset: %v, size %d, %d files", err, b.Size(), open)
		}
	}
}

// ReadSome reads into memory, without more of it than the data has.
func TestBufferReadSome(t *testing.T) {
	data := text(5 << 20)
	b := NewBuffer(Options{})
	in := bytes.NewReader(data)
	for in.Len() > 0 {
		if err := b.ReadSome(in, int64(len(data))); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(b.Bytes(), data) || b.Memory() > int64(len(data)) {
		t.Errorf("%d bytes in %d of memory", len(b.Bytes()), b.Memory())
	}
	mem := b.Detach()
	if b.Bytes() != nil {
		t.Error("the memory was not given away")
	}
	if err := b.Reset(); err != nil {
		t.Fatal(err)
	}
	b.Reuse(mem)
	if err := b.Append([]byte("x"), 1); err != nil || &b.Bytes()[0] != &mem.Bytes[0] {
		t.Error("the memory was not used again")
	}
}

// Without Open, too much data is an error, and so is what a File or the sink says.
func TestBufferErrors(t *testing.T) {
	b := NewBuffer(Options{Memory: 10})
	if err := b.Append(text(11), 11); !errors.Is(err, ErrFull) {
		t.Errorf("without Open: %v", err)
	}
	broken := errors.New("broken")
	b = NewBuffer(Options{Memory: 10, Open: func() (File, error) { return nil, broken }})
	if err := b.Append(text(11), 11); !errors.Is(err, broken) {
		t.Errorf("open: %v", err)
	}
	open := 1
	f := &memFile{open: &open}
	b = NewBuffer(Options{Memory: 10, Open: func() (File, error) { return f, nil }})
	if err := b.Append(text(11), 20); err != nil {
		t.Fatal(err)
	}
	if err := b.DrainAll(func([]byte) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("sink: %v", err)
	}
	f.b = f.b[:5]
	if err := b.DrainAll(func([]byte) error { return nil }); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a File that became shorter: %v", err)
	}
	f.fail = broken
	if err := b.Append(text(1), 20); !errors.Is(err, broken) {
		t.Errorf("write: %v", err)
	}
	if err := b.Reset(); !errors.Is(err, broken) || open != 0 {
		t.Errorf("close: %v, %d files", err, open)
	}
}

// Items of a Queue come out as they were written, in any order, from memory and from the file.
func TestQueue(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, limit := range []int64{1, 1000, 1 << 20} {
		open := 0
		q := NewQueue(Options{Memory: limit, Open: opener(&open)})
		for range 20 {
			var items []*Item
			var want [][]byte
			for range rng.IntN(20) {
				i, err := q.New()
				if err != nil {
					t.Fatal(err)
				}
				items, want = append(items, i), append(want, nil)
			}
			for range 5 * len(items) {
				k := rng.IntN(len(items))
				p := text(rng.IntN(300) * max(1, 300*(rng.IntN(40)-38)))
				if n, err := items[k].Write(p); n != len(p) || err != nil {
					t.Fatal(n, err)
				}
				want[k] = append(want[k], p...)
			}
			numbers := map[int]int64{}
			for _, k := range rng.Perm(len(items))[:len(items)/3] {
				n, err := q.Park(items[k])
				if err != nil || n <= 0 {
					t.Fatal(n, err)
				}
				numbers[k] = n
			}
			for _, k := range rng.Perm(len(items)) {
				var out bytes.Buffer
				if number, ok := numbers[k]; ok {
					if got, err := io.ReadAll(q.Open(number)); err != nil || !bytes.Equal(got, want[k]) {
						t.Fatalf("parked item %d: %d bytes, %v, want %d", k, len(got), err, len(want[k]))
					}
				} else if n, err := items[k].WriteTo(&out); n != int64(len(want[k])) || err != nil || !bytes.Equal(out.Bytes(), want[k]) {
					t.Fatalf("item %d: %d bytes, %v, want %d", k, n, err, len(want[k]))
				}
			}
			if q.used != 0 || q.live != 0 || q.parked != 0 || q.tape.end != tapeStart {
				t.Fatalf("%d bytes, %d items and %d bytes of the file are in use", q.used, q.live, q.tape.end)
			}
		}
		if q.Close(); open != 0 {
			t.Errorf("%d files are open", open)
		}
	}
}

// The number of items is bounded, and without Open their data.
func TestQueueIsBounded(t *testing.T) {
	q := NewQueue(Options{Memory: 1})
	n := 0
	for ; ; n++ {
		if _, err := q.New(); err != nil {
			if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "renamed entries wait") {
				t.Errorf("got error %v", err)
			}
			break
		}
	}
	if n*itemMemory > freeItems+1 || n < 20_000 {
		t.Errorf("%d items", n)
	}
	i, err := NewQueue(Options{Memory: 1000}).New()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.Write(text(1001)); !errors.Is(err, ErrFull) {
		t.Errorf("got error %v", err)
	}
}

// An item can be read and changed at any place while it waits, in memory and in the file.
func TestItemAccess(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, limit := range []int64{1, 2000, 1 << 20} {
		open := 0
		q := NewQueue(Options{Memory: limit, Open: opener(&open)})
		var items []*Item
		var want [][]byte
		for range 5 {
			i, err := q.New()
			if err != nil {
				t.Fatal(err)
			}
			items, want = append(items, i), append(want, nil)
		}
		for range 40 {
			k := rng.IntN(len(items))
			p := text(rng.IntN(300) * max(1, 300*(rng.IntN(8)-6)))
			if _, err := items[k].Write(p); err != nil {
				t.Fatal(err)
			}
			want[k] = append(want[k], p...)
		}
		for range 200 {
			k := rng.IntN(len(items))
			if rng.IntN(4) == 0 { // it grows
				p := text(rng.IntN(300))
				if _, err := items[k].Write(p); err != nil {
					t.Fatal(err)
				}
				want[k] = append(want[k], p...)
			}
			off := rng.IntN(len(want[k]) + 1)
			p := text(rng.IntN(400) * max(1, 300*(rng.IntN(8)-6)))
			n, err := items[k].WriteAt(p, int64(off))
			if m := copy(want[k][off:], p); n != m || (err != nil) != (m < len(p)) {
				t.Fatalf("wrote %d of %d bytes at %d of %d: %v", n, len(p), off, len(want[k]), err)
			}
			got := make([]byte, rng.IntN(400))
			off = rng.IntN(len(want[k]) + 1)
			n, err = items[k].ReadAt(got, int64(off))
			if m := min(len(got), len(want[k])-off); n != m || (err == io.EOF) != (m < len(got)) || !bytes.Equal(got[:n], want[k][off:off+n]) {
				t.Fatalf("read %d of %d bytes at %d of %d: %v", n, len(got), off, len(want[k]), err)
			}
		}
		for k, i := range items {
			var out bytes.Buffer
			if _, err := i.WriteTo(&out); err != nil || !bytes.Equal(out.Bytes(), want[k]) {
				t.Errorf("item %d: %v", k, err)
			}
		}
		q.Close()
	}
}
