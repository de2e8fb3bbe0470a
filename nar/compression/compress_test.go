package compression_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
	"testing/iotest"

	"narseal/nar/compression"
	"narseal/nar/nartest"
)

// written has the formats that can be written.
var written = []compression.Type{compression.None, compression.Zstd, compression.Xz, compression.Gzip}

func compress(t testing.TB, data []byte, format compression.Type, o compression.Options) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := compression.Compress(&out, format, o)
	if err != nil {
		t.Fatal(err)
	}
	// In pieces of a size that divides no block.
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{bytes.NewReader(data)}, make([]byte, 9973)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestRoundTrip(t *testing.T) {
	for _, format := range written {
		for _, n := range []int{0, 1, 300_000} {
			for _, level := range []int{0, 1, 9} {
				if format == compression.None && level > 0 {
					continue
				}
				data := content(n)
				c := compress(t, data, format, compression.Options{Level: level})
				got, found, err := expand(bytes.NewReader(c))
				if n == 0 && format == compression.Zstd {
					found = format // zstd writes no frame for empty input
				}
				if err != nil || !bytes.Equal(got, data) || found != format {
					t.Errorf("%s, %d bytes, level %d: got %d bytes in %s, %v", format, n, level, len(got), found, err)
				}
			}
		}
	}
}

// The usual programs read what is written, and it does not depend on the number of cores.
func TestProgramsRead(t *testing.T) {
	for format, program := range map[compression.Type]string{compression.Zstd: "zstd", compression.Xz: "xz", compression.Gzip: "gzip"} {
		for _, n := range []int{0, 1, 300_000} {
			for _, level := range []int{0, 1, 9} {
				data := content(n)
				c := compress(t, data, format, compression.Options{Level: level, Workers: 1})
				if again := compress(t, data, format, compression.Options{Level: level, Workers: 3}); !bytes.Equal(c, again) {
					t.Errorf("%s, %d bytes, level %d: 3 workers write something else than one", format, n, level)
				}
				cmd := exec.Command(nartest.Tool(t, program), "-dc")
				cmd.Stdin = bytes.NewReader(c)
				got, err := cmd.Output()
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("%s, %d bytes, level %d: got %d bytes, %v", program, n, level, len(got), err)
				}
			}
		}
	}
}

func TestCompressRefuses(t *testing.T) {
	for _, c := range []struct {
		format compression.Type
		o      compression.Options
		want   string
	}{
		{compression.Bzip2, compression.Options{}, "compress bzip2: only reading"},
		{"br", compression.Options{}, `unsupported compression "br"`},
		{"", compression.Options{}, `unsupported compression ""`},
		{compression.None, compression.Options{Level: 1}, "compress none: level 1 is not in 0–0"},
		{compression.Zstd, compression.Options{Level: 23}, "compress zstd: level 23 is not in 0–22"},
		{compression.Xz, compression.Options{Level: 10}, "compress xz: level 10 is not in 0–9"},
		{compression.Gzip, compression.Options{Level: -1}, "compress gzip: level -1 is not in 0–9"},
		{compression.Gzip, compression.Options{Workers: -1}, "compress gzip: -1 workers"},
	} {
		if _, err := compression.Compress(io.Discard, c.format, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s, %v: got %v, want %q", c.format, c.o, err, c.want)
		}
	}
}

// A failed write is an error of a later Write, or of Close at the latest.
func TestFailingWriter(t *testing.T) {
	failed := errors.New("no space left")
	for _, format := range written {
		w, err := compression.Compress(failingWriter{failed}, format, compression.Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Write(content(300_000))
		if err == nil {
			err = w.Close()
		}
		if !errors.Is(err, failed) {
			t.Errorf("%s: got %v", format, err)
		}
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

func TestTypes(t *testing.T) {
	for name, want := range map[string]string{"none": "", "zstd": ".zst", "xz": ".xz", "gzip": ".gz", "bzip2": ".bz2", "": ".bz2"} {
		got, err := compression.Parse(name)
		if err != nil || got.Extension() != want {
			t.Errorf("%q: got %q, %v, want %q", name, got.Extension(), err, want)
		}
	}
	for _, name := range []string{"br", "zst", "XZ", " xz"} {
		if got, err := compression.Parse(name); err == nil {
			t.Errorf("%q: got %q and no error", name, got)
		}
	}
}

func BenchmarkDecompress(b *testing.B) {
	data := content(16 << 20)
	for _, format := range written {
		c := compress(b, data, format, compression.Options{})
		b.Run(string(format), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				rc, _, err := compression.Decompress(bytes.NewReader(c))
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, rc); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCompress(b *testing.B) {
	data := content(16 << 20)
	for _, format := range written[1:] {
		for _, workers := range []int{1, 0} {
			b.Run(fmt.Sprintf("%s/workers=%d", format, workers), func(b *testing.B) {
				b.SetBytes(int64(len(data)))
				b.ReportAllocs()
				for b.Loop() {
					compress(b, data, format, compression.Options{Workers: workers})
				}
			})
		}
	}
}

// If a fuzzed stream is read without an error, other decoders return the same, however it arrives, and one more byte
// after it is an error.
func FuzzDecompress(f *testing.F) {
	for _, v := range vectors {
		c := decode(f, v.base64)
		f.Add(c)
		f.Add(append(c, c...))
	}
	for _, v := range greedy {
		f.Add(decode(f, v.base64))
	}
	f.Fuzz(func(t *testing.T, c []byte) {
		const limit = 1 << 20
		read := func(r io.Reader) ([]byte, compression.Type, error) {
			rc, format, err := compression.Decompress(r)
			if err != nil {
				return nil, "", err
			}
			defer rc.Close()
			b, err := io.ReadAll(io.LimitReader(rc, limit))
			return b, format, err
		}
		got, format, err := read(bytes.NewReader(c))
		slow, _, slowErr := read(iotest.OneByteReader(bytes.NewReader(c)))
		if (err == nil) != (slowErr == nil) || err == nil && !bytes.Equal(got, slow) {
			t.Fatalf("got %q, %v; byte by byte %q, %v", got, err, slow, slowErr)
		}
		if err != nil || format == compression.None || len(got) == limit {
			return
		}
		if other, ok := reference(format, c); ok && !bytes.Equal(got, other) {
			t.Fatalf("got %q, another decoder %q", got, other)
		}
		if _, _, err := read(bytes.NewReader(append(bytes.Clone(c), 'B'))); err == nil {
			t.Fatal("trailing data passes")
		}
	})
}
