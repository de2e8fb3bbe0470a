package compression_test

import (
	"bytes"
	"errors"
	"io"
	"os/exec"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"

	"narseal/nar/compression"
	"narseal/nar/nartest"
)

// What is written with a Size is read by zstd, in frames of 16 MiB with their sizes, and does not depend on Workers.
func TestCompressFrames(t *testing.T) {
	const frameSize = 16 << 20
	const size = 2*frameSize + 70_000
	contents := content(size)
	var packed [2]bytes.Buffer
	for i := range packed {
		w, err := compression.Compress(&packed[i], compression.Zstd, compression.Options{Size: size, Workers: 1 + i})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{bytes.NewReader(contents)}, make([]byte, 99_999)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(packed[0].Bytes(), packed[1].Bytes()) {
		t.Error("two workers write something else than one")
	}
	var sizes []uint64
	rest := packed[0].Bytes()
	for len(rest) > 0 {
		var h zstd.Header
		if err := h.Decode(rest); err != nil || !h.HasFCS {
			t.Fatalf("frame %d: %+v, %v", len(sizes), h, err)
		}
		sizes = append(sizes, h.FrameContentSize)
		rest = rest[h.HeaderSize:]
		for last := false; !last; {
			size := int(rest[0])>>3 | int(rest[1])<<5 | int(rest[2])<<13
			if rest[0]>>1&3 == 1 {
				size = 1
			}
			last = rest[0]&1 != 0
			rest = rest[3+size:]
		}
		if h.HasCheckSum {
			rest = rest[4:]
		}
	}
	if want := []uint64{frameSize, frameSize, 70_000}; !slices.Equal(sizes, want) {
		t.Errorf("frames of %d bytes, want %d", sizes, want)
	}
	if got, _, err := expand(bytes.NewReader(packed[0].Bytes())); err != nil || !bytes.Equal(got, contents) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	cmd := exec.Command(nartest.Tool(t, "zstd"), "-dc")
	cmd.Stdin = &packed[0]
	if got, err := cmd.Output(); err != nil || !bytes.Equal(got, contents) {
		t.Errorf("zstd: got %d bytes, %v", len(got), err)
	}
}

// A stream of another size than was announced is an error, and so is a negative one.
func TestCompressSize(t *testing.T) {
	for _, n := range []int{9, 11} {
		w, err := compression.Compress(io.Discard, compression.Zstd, compression.Options{Size: 10})
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Write(make([]byte, n))
		if err == nil {
			err = w.Close()
		}
		if !errors.Is(err, compression.ErrSize) {
			t.Errorf("%d bytes written, 10 announced: %v", n, err)
		}
	}
	if _, err := compression.Compress(io.Discard, compression.Zstd, compression.Options{Size: -1}); err == nil {
		t.Error("a negative size: no error")
	}
}
