package compression

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
)

// usual opens a stream by a decoder that may have been used before.
func usual(packed []byte) ([]byte, error) {
	dec, _, err := DecompressWith(bytes.NewReader(packed), -1, func(int64) error { return nil })
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	return io.ReadAll(dec)
}

// fresh opens it by one that was not: Decompress allows another window, of which none is kept.
func fresh(packed []byte) ([]byte, error) {
	dec, _, err := Decompress(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	return io.ReadAll(dec)
}

func packed(t *testing.T, format Type, text string) []byte {
	var b bytes.Buffer
	w, err := Compress(&b, format, Options{})
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, text)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A decoder that was used before decodes as a new one, also what is damaged, and shows nothing of the stream before.
func TestUsedDecoders(t *testing.T) {
	const secret = "SECRET"
	for _, format := range []Type{Zstd, Xz, Gzip} {
		before := packed(t, format, strings.Repeat(secret, 1000))
		good := packed(t, format, strings.Repeat("text, and text again; ", 20))
		check := func(name string, b []byte) {
			if _, err := usual(before); err != nil {
				t.Fatal(err)
			}
			got, err := usual(b)
			want, wantErr := fresh(b)
			if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(got, want) {
				t.Errorf("%s, %s: got %q, %v, a new decoder %q, %v", format, name, got, err, want, wantErr)
			}
			if bytes.Contains(got, []byte(secret)) {
				t.Errorf("%s, %s: shows the stream before: %q", format, name, got)
			}
		}
		check("whole", good)
		check("twice", append(bytes.Clone(good), good...))
		for i := range good {
			check(fmt.Sprint("cut at ", i), good[:i])
			for bit := range 8 {
				b := bytes.Clone(good)
				b[i] ^= 1 << bit
				check(fmt.Sprintf("bit %d of byte %d", bit, i), b)
			}
		}
	}
}

// Each stream has a decoder of its own, however many are read at a time, and in whatever order they are closed.
func TestUsedDecodersAtATime(t *testing.T) {
	for _, format := range []Type{Zstd, Xz} {
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				for j := range 20 {
					text := strings.Repeat(fmt.Sprint("stream ", i, " ", j, "; "), 100)
					b, err := usual(packed(t, format, text))
					if err != nil || string(b) != text {
						t.Errorf("%s: got %d bytes, %v", format, len(b), err)
					}
				}
			})
		}
		all.Wait()
	}
}

// Many tiny streams, as the NARs of a cache are.
func BenchmarkTiny(b *testing.B) {
	for _, format := range []Type{Zstd, Xz, Gzip} {
		var c bytes.Buffer
		w, _ := Compress(&c, format, Options{})
		io.WriteString(w, strings.Repeat("tiny; ", 100))
		w.Close()
		b.Run(string(format), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := usual(c.Bytes()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
