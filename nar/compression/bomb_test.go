package compression

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"testing"
)

// head -c 45000000 /dev/zero | bzip2 -9: 900,000:1
const bzip2Zeros = "QlpoOTFBWSZTWckBtsgBWKtAIMAAEAAACCAAMMwFKaZSSFJsVJIUni7kinChIZIDbZA="

func TestBomb(t *testing.T) {
	c, err := base64.StdEncoding.DecodeString(bzip2Zeros)
	if err != nil {
		t.Fatal(err)
	}
	const free = 1 << 20
	limit := int64(free + maxRatio*(len(c)+1))
	rc, _, err := decompress(bytes.NewReader(c), free, -1)
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, struct{ io.Reader }{rc})
	if !errors.Is(err, ErrBomb) || n < free || n > limit+1<<20 {
		t.Errorf("got %d bytes, %v, want at most about %d and ErrBomb", n, err, limit)
	}

	// It could be a legitimate NAR of zeros, and is accepted up to freeOutput.
	rc, _, err = Decompress(bytes.NewReader(c))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, rc); n != 45e6 || err != nil {
		t.Errorf("got %d bytes, %v, want 45000000", n, err)
	}
}

// The other formats stay below the ratio, even for zeros.
func TestZerosAreNoBomb(t *testing.T) {
	const size = 4 << 20
	for _, format := range []Type{Zstd, Xz, Gzip} {
		var c bytes.Buffer
		w, err := Compress(&c, format, Options{Level: 1})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		rc, _, err := decompress(&c, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, rc); n != size || err != nil {
			t.Errorf("%s: got %d bytes, %v, want %d", format, n, err, size)
		}
	}
}
