package compression

import (
	"bytes"
	"io"
	"os"
	"testing"
)

// BenchmarkStream decompresses the file that NARSEAL_STREAM names. With -cpu 1,2 it compares one CPU with two.
func BenchmarkStream(b *testing.B) {
	name := os.Getenv("NARSEAL_STREAM")
	if name == "" {
		b.Skip("NARSEAL_STREAM names no file")
	}
	packed, err := os.ReadFile(name)
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 1<<20)
	for b.Loop() {
		dec, _, err := Decompress(bytes.NewReader(packed))
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for err == nil {
			var m int
			m, err = dec.Read(buf)
			n += m
		}
		if err != io.EOF {
			b.Fatal(err)
		}
		dec.Close()
		b.SetBytes(int64(n))
	}
}
