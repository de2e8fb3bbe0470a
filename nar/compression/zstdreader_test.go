package compression

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// frameStream returns data in n zstd frames that say how large their contents are.
func frameStream(data []byte, n int) (packed []byte) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		panic(err)
	}
	for i := range n {
		packed = enc.EncodeAll(data[i*len(data)/n:(i+1)*len(data)/n], packed)
	}
	return packed
}

// unknownFrame returns data in a frame that does not say how large its contents are.
func unknownFrame(t testing.TB, data []byte) []byte {
	var b bytes.Buffer
	enc, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
	if err != nil {
		t.Fatal(err)
	}
	// More than one write, so that the encoder does not know the size.
	for _, half := range [][]byte{data[:len(data)/2], data[len(data)/2:]} {
		if _, err := enc.Write(half); err != nil {
			t.Fatal(err)
		}
		if err := enc.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	enc.Close()
	return b.Bytes()
}

func frameStreams(t testing.TB) map[string][]byte {
	data := contentOf(300)
	frames := frameStream(data, 3)
	skippable := []byte("\x50\x2a\x4d\x18\x04\x00\x00\x00abcd")
	return map[string][]byte{
		"frames":           frames,
		"one":              frameStream(data, 1),
		"zeros":            frameStream(make([]byte, 900), 3),
		"empty":            frameStream(nil, 2),
		"unknown":          append(append(bytes.Clone(frames), unknownFrame(t, data)...), frames...),
		"skippable":        append(append(bytes.Clone(frames), skippable...), frames...),
		"not compressible": frameStream(noise(600), 3),
		"followed":         append(bytes.Clone(frames), "abc"...),
	}
}

// noise returns bytes that no encoder makes smaller.
func noise(n int) []byte {
	b := make([]byte, n)
	x := uint64(1)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return b
}

// Streams of frames are read like by the library: whole, cut, and with a bit changed.
func TestZstdReader(t *testing.T) {
	anyPart(t)
	for name, packed := range frameStreams(t) {
		sameParts(t, name, packed)
		step := 11
		if name == "unknown" {
			step = 4 // it has frames of both kinds
		}
		for n := 6; n < len(packed); n += step {
			sameParts(t, fmt.Sprint(name, " cut at ", n), packed[:n])
		}
		for at := 4; at < len(packed); at += step {
			damaged := bytes.Clone(packed)
			damaged[at] ^= 1 << (at % 8)
			sameParts(t, fmt.Sprint(name, " damaged at ", at), damaged)
		}
	}
}

// Frames of 16 MiB, which Compress writes, are decoded concurrently.
func TestZstdReaderLarge(t *testing.T) {
	slow := slowZstd
	slowZstd = time.Hour
	t.Cleanup(func() { slowZstd = slow })
	data := bytes.Repeat(contentOf(40<<10), 1000)
	var packed bytes.Buffer
	w, err := Compress(&packed, Zstd, Options{Size: int64(len(data))})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	dec, _, err := Decompress(&packed)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	if got, err := io.ReadAll(dec); err != nil || !bytes.Equal(got, data) {
		t.Errorf("got %d bytes, %v, want %d", len(got), err, len(data))
	}
}

func FuzzZstdReader(f *testing.F) {
	anyPart(f)
	for _, packed := range frameStreams(f) {
		f.Add(packed)
	}
	f.Fuzz(func(t *testing.T, packed []byte) {
		if Detect(packed) == Zstd {
			fuzzedParts(t, packed)
		}
	})
}
