package nar_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"narseal/nar"
	"narseal/nar/nartest"
)

// parkedSpills is a SpillStore. It wants entries to be parked after every so many, and sees to it that a Spill is not used
// after it was parked, and that what was parked is read once, to its end.
type parkedSpills struct {
	t     testing.TB
	every int
	data  map[int64][]byte
	next  int64
}

// parkedSpill is a Spill of parkedSpills.
type parkedSpill struct {
	bytes.Buffer
	t      testing.TB
	parked bool
}

func (s *parkedSpill) Write(p []byte) (int, error) {
	if s.parked {
		s.t.Error("a Spill was written after it was parked")
	}
	return s.Buffer.Write(p)
}

func (s *parkedSpill) WriteTo(w io.Writer) (int64, error) {
	if s.parked {
		s.t.Error("a Spill was read after it was parked")
	}
	return s.Buffer.WriteTo(w)
}

func (p *parkedSpills) Full(n int) bool         { return n >= p.every }
func (p *parkedSpills) New() (nar.Spill, error) { return p.spill(), nil }
func (p *parkedSpills) spill() *parkedSpill     { return &parkedSpill{t: p.t} }

func (p *parkedSpills) Park(s nar.Spill) (int64, error) {
	spill := s.(*parkedSpill)
	if spill.parked {
		p.t.Error("a Spill was parked twice")
	}
	spill.parked = true
	p.next++
	p.data[p.next] = spill.Bytes()
	return p.next, nil
}

func (p *parkedSpills) Open(number int64) io.Reader {
	data, ok := p.data[number]
	if !ok {
		p.t.Fatalf("spill %d is not there, or was opened before", number)
	}
	p.data[number] = nil
	r := bytes.NewReader(data)
	return readerFunc(func(b []byte) (int, error) {
		n, err := r.Read(b)
		if err == io.EOF {
			delete(p.data, number)
		}
		return n, err
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// numberedTree is a directory of small entries. Names and contents are different everywhere.
func numberedTree(rnd *rand.Rand, depth int, id *int) nartest.Node {
	*id++
	if depth == 0 || rnd.IntN(3) == 0 {
		return nartest.File(fmt.Sprintf("contents of %d;%s", *id, strings.Repeat("x", rnd.IntN(4)*rnd.IntN(30))))
	}
	d := nartest.Dir{}
	for range rnd.IntN(8) {
		*id++
		d[fmt.Sprintf("%c%d%s", "abc"[rnd.IntN(3)], *id, strings.Repeat("n", rnd.IntN(3)*rnd.IntN(85)))] = numberedTree(rnd, depth-1, id)
	}
	return d
}

// checkParked writes a random tree with some entries deferred, parks them every so often, and wants the archive that the
// oracle makes. With marks, it asks for the places of some contents and wants them to be right.
func checkParked(t *testing.T, seed uint64, depth, every int, marks bool) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	tree := numberedTree(rnd, depth, new(int))
	want := nartest.Tree(tree)
	store := &parkedSpills{t: t, every: every, data: map[int64][]byte{}}
	var out bytes.Buffer
	w := nar.NewWriterSize(&out, smallBuffer)
	w.ParkIn(store)
	places := map[string]*nar.Place{}
	for _, c := range deferredCalls(rnd, &nar.Entry{}, tree, false) {
		var err error
		if d, ok := c.(deferredCall); ok {
			err = w.WriteEntryDeferred(d.Entry, store.spill())
		} else {
			if text, ok := c.(string); ok && marks && rnd.IntN(5) == 0 {
				places[text] = w.Mark()
			}
			err = do(w, c)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), want) {
		got := out.Bytes()
		n := 0
		for n < min(len(got), len(want)) && got[n] == want[n] {
			n++
		}
		t.Fatalf("depth %d, every %d, marks %t, seed %d: differs at %d of %d: got %.200q, want %.200q", depth, every, marks, seed, n, len(want), got[n:], want[n:])
	}
	if len(store.data) > 0 {
		t.Errorf("%d of %d spills were not read to their end", len(store.data), store.next)
	}
	for text, p := range places {
		if p.Spill != nil || !bytes.HasPrefix(out.Bytes()[p.Offset:], []byte(text)) {
			t.Errorf("the place of %q is %+v", text, p)
		}
	}
}

// Deferred entries that are parked end up in their places, and so do those that stay in memory because of a Mark.
func TestWriterParks(t *testing.T) {
	for seed := range uint64(400) {
		checkParked(t, seed, 1+int(seed%6), 1+int(seed%7)*int(seed%5), seed%2 == 1)
	}
}

func FuzzPark(f *testing.F) {
	f.Add(uint64(1), uint8(3), uint8(2), true)
	f.Add(uint64(2), uint8(6), uint8(0), false)
	f.Fuzz(func(t *testing.T, seed uint64, depth, every uint8, marks bool) {
		checkParked(t, seed, int(depth%8), 1+int(every%40), marks)
	})
}

// In an entry that has to stay in memory, the entries that are parked are bounded, too.
func TestWriterParksBounded(t *testing.T) {
	store := &parkedSpills{t: t, every: 1, data: map[int64][]byte{}}
	w := nar.NewWriter(io.Discard)
	w.ParkIn(store)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(w.WriteEntry(&nar.Entry{Type: nar.TypeDirectory}))
	must(w.WriteEntryDeferred(&nar.Entry{Depth: 1, Name: []byte("d"), Type: nar.TypeDirectory}, store.spill()))
	must(w.WriteEntry(&nar.Entry{Depth: 2, Name: []byte("a"), Type: nar.TypeRegular, Size: 1}))
	w.Mark()
	_, err := io.WriteString(w, "x")
	must(err)
	n := 0
	for ; n < 100_000; n++ {
		name := fmt.Appendf(nil, "n%06d", n)
		must(w.WriteEntryDeferred(&nar.Entry{Depth: 2, Name: name, Type: nar.TypeRegular}, store.spill()))
	}
	if err := w.Close(); err == nil || !strings.Contains(err.Error(), "more than 65536 renamed entries") {
		t.Errorf("got error %v", err)
	}
}
