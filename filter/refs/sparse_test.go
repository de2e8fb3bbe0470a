package refs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"narseal/filter/rules"
	"narseal/nar"
	"narseal/nar/compression"
)

// holey reads data with the runs of zeros as holes, in steps of a block.
type holey struct {
	data    []byte
	at      int
	skipped int
}

const block = 4096

func (h *holey) Read(p []byte) (int, error) {
	if h.at == len(h.data) {
		return 0, io.EOF
	}
	n := copy(p, h.data[h.at:min(len(h.data), h.at+100_000)])
	h.at += n
	return n, nil
}

func (h *holey) Hole() (int64, error) {
	end := h.at
	for end < len(h.data) && h.data[end] == 0 {
		end++
	}
	if end < len(h.data) {
		end = end / block * block
	}
	return int64(max(0, end-h.at)), nil
}

func (h *holey) Skip(n int64) error {
	if hole, _ := h.Hole(); n > hole {
		return errors.New("not a hole")
	}
	h.at += int(n)
	h.skipped += int(n)
	return nil
}

// Holes that are skipped change nothing of what is found, nor where, also next to references and in packed files.
func TestSparseReader(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	set := compile(t, []rules.Rule{{From: hashA, To: hashA}, {From: hashB, To: hashB}}, rules.AllEncodings)
	skipped := 0
	for i := range 60 {
		var data bytes.Buffer
		for range 1 + r.IntN(5) {
			c := codecs[r.IntN(len(codecs))]
			data.Write(make([]byte, r.IntN(4)*r.IntN(200_000)))
			if r.IntN(2) == 0 {
				data.Write(make([]byte, -data.Len()&(block-1))) // a reference begins a block
			}
			data.Write(c.encode(expand(dir + "/" + hashA + "-x" + fmt.Sprint(r.IntN(9)))))
			data.Write(make([]byte, r.IntN(3)*r.IntN(200_000)))
		}
		in := data.Bytes()
		if i%3 == 0 {
			in = pack(t, in)
		}
		for _, unpack := range []bool{false, true} {
			find := func(in io.Reader) (got []string) {
				s := Scanner{StoreDir: dir, Encodings: rules.AllEncodings, Hashes: set}
				if unpack {
					s.Unpack = &Unpack{}
				}
				s.Found = func(ref *Reference) error {
					got = append(got, fmt.Sprintf("%s %s %d %v %q %d", ref.Packed, ref.Part, ref.Offset, ref.Encoding, ref.Base, ref.Hash))
					return nil
				}
				if err := s.File(nar.NewPath("f"), in); err != nil {
					t.Fatal(err)
				}
				return got
			}
			want := find(bytes.NewReader(in))
			h := &holey{data: in}
			got := find(h)
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) || len(want) == 0 && i%3 > 0 {
				t.Errorf("%d, unpack %v: got %q, want %q", i, unpack, got, want)
			}
			skipped += h.skipped
		}
	}
	if skipped < 1<<20 {
		t.Errorf("%d bytes were skipped", skipped)
	}
}

// A packed file of holes is given up in the end.
func TestSparsePacked(t *testing.T) {
	var warned []error
	s := Scanner{StoreDir: dir, Encodings: rules.AllEncodings, Found: func(*Reference) error { return nil }}
	s.Unpack = &Unpack{Warn: func(_ string, err error) { warned = append(warned, err) }}
	frames := &skippable{}
	if err := s.File(nar.NewPath("f"), frames); err != nil {
		t.Fatal(err)
	}
	if limited, _ := s.Incomplete(); limited != 1 || len(warned) != 1 || frames.read > 2*maxUnpackedHoles {
		t.Errorf("limited %d, %v, %d bytes were read", limited, warned, frames.read)
	}
}

// skippable is a file of 1,000 frames of zstd that are skipped, each with a hole of 512 MiB.
type skippable struct {
	frame, in, read int64
}

const (
	frameHead = 8
	frameHole = 512 << 20
)

func (f *skippable) Hole() (int64, error) {
	if f.in < frameHead || f.frame == 1000 {
		return 0, nil
	}
	return frameHead + frameHole - f.in, nil
}

func (f *skippable) Skip(n int64) error {
	f.in += n
	return nil
}

func (f *skippable) Read(p []byte) (int, error) {
	if f.in == frameHead+frameHole {
		f.in = 0
		f.frame++
	}
	if f.frame == 1000 {
		return 0, io.EOF
	}
	head := []byte{0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0x20}
	n := min(int64(len(p)), frameHead+frameHole-f.in)
	if f.in < frameHead {
		n = int64(copy(p, head[f.in:]))
	} else {
		clear(p[:n])
	}
	f.in += n
	f.read += n
	return int(n), nil
}

func pack(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := compression.Compress(&b, compression.Gzip, compression.Options{Level: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	b.Write(make([]byte, 300_000))
	return b.Bytes()
}
