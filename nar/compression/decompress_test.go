package compression_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"narseal/nar/compression"
	"narseal/nar/nartest"
)

// expand decompresses the whole of r.
func expand(r io.Reader) ([]byte, compression.Type, error) {
	rc, format, err := compression.Decompress(r)
	if err != nil {
		return nil, format, err
	}
	defer rc.Close()
	b, err := io.ReadAll(rc)
	return b, format, err
}

func TestVectors(t *testing.T) {
	for _, v := range vectors {
		c := decode(t, v.base64)
		for name, r := range map[string]io.Reader{
			"whole":         bytes.NewReader(c),
			"byte by byte":  iotest.OneByteReader(bytes.NewReader(c)),
			"data with EOF": iotest.DataErrReader(bytes.NewReader(c)),
		} {
			got, format, err := expand(r)
			if err != nil || string(got) != plain || format != v.format {
				t.Errorf("%s, %s: got %q in %s, %v", v.command, name, got, format, err)
			}
		}
		// Two streams in a row are read as one.
		got, _, err := expand(bytes.NewReader(append(c, c...)))
		if err != nil || string(got) != plain+plain {
			t.Errorf("%s, twice: got %q, %v", v.command, got, err)
		}
	}
}

func TestNoMagic(t *testing.T) {
	long := bytes.Repeat([]byte("\x0d\x00\x00\x00\x00\x00\x00\x00nix-archive-1\x00\x00\x00"), 1<<15)
	for _, in := range [][]byte{nil, {'B'}, []byte("BZ"), {0x1f}, {0xfd, '7', 'z', 'X', 'Z'}, []byte("Bz hello"), long} {
		got, format, err := expand(bytes.NewReader(in))
		if err != nil || !bytes.Equal(got, in) || format != compression.None {
			t.Errorf("%.9q: got %.9q in %s, %v", in, got, format, err)
		}
	}
}

// A cut anywhere after the magic number is an error, also in a second member.
func TestEveryCut(t *testing.T) {
	for _, v := range vectors {
		one := decode(t, v.base64)
		c := append(one[:len(one):len(one)], one...)
		for n := 6; n < len(c); n++ {
			if n == len(one) {
				continue
			}
			if v.command == "pzstd" && n == len(one)+12 {
				continue // between two frames, the first of which is skippable
			}
			got, _, err := expand(bytes.NewReader(c[:n]))
			if !strings.HasPrefix(plain+plain, string(got)) {
				t.Errorf("%s cut at %d: got %q", v.command, n, got)
			}
			if v.command == "pzstd" && n == 12 {
				if err != nil || len(got) > 0 { // a skippable frame alone is empty contents
					t.Errorf("%s cut at %d: got %q, %v", v.command, n, got, err)
				}
				continue
			}
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s cut at %d of %d: got %q, %v, want unexpected EOF", v.command, n, len(c), got, err)
			}
		}
	}
}

// A flipped bit is detected, or does not affect the contents (gzip's header has a time stamp and no checksum).
func TestEveryFlip(t *testing.T) {
	for _, v := range vectors {
		c := decode(t, v.base64)
		for at := range c {
			for bit := range 8 {
				damaged := bytes.Clone(c)
				damaged[at] ^= 1 << bit
				got, format, err := expand(bytes.NewReader(damaged))
				if format == compression.None && err == nil {
					if at >= 6 {
						t.Fatalf("%s, byte %d: no longer recognised", v.command, at)
					}
					continue
				}
				if err == nil && string(got) != plain && !(v.command == "pzstd" && at < 12) {
					t.Errorf("%s, byte %d, bit %d: got %q and no error", v.command, at, bit, got)
				}
			}
		}
	}
}

func TestTrailingData(t *testing.T) {
	zeros := make([]byte, 1<<20)
	for _, v := range vectors {
		c := decode(t, v.base64)
		for name, tail := range map[string][]byte{
			"one zero":       zeros[:1],
			"4 zeros":        zeros[:4],
			"510 zeros":      zeros[:510],
			"a MiB of zeros": zeros,
			"text":           []byte("trailing"),
			"a letter":       []byte("B"),
			"zstd magic":     []byte("\x28\xb5\x2f\xfd"),
			"xz magic":       []byte("\xfd7zXZ\x00"),
		} {
			got, _, err := expand(bytes.NewReader(append(c[:len(c):len(c)], tail...)))
			// The xz format allows zeros between and after streams, in fours.
			if v.format == compression.Xz && len(tail)%4 == 0 && tail[0] == 0 {
				if err != nil || string(got) != plain {
					t.Errorf("%s and %s: got %q, %v", v.command, name, got, err)
				}
			} else if err == nil {
				t.Errorf("%s and %s: no error", v.command, name)
			}
		}
	}
}

func TestGreedyHeaders(t *testing.T) {
	for _, v := range greedy {
		var before, after runtime.MemStats
		c := decode(t, v.base64)
		runtime.ReadMemStats(&before)
		_, _, err := expand(bytes.NewReader(c))
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), v.want) {
			t.Errorf("%s: got %v, want %q", v.command, err, v.want)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 32<<20 {
			t.Errorf("%s: %d bytes allocated", v.command, n)
		}
	}
}

func TestErrorOfTheReaderBelow(t *testing.T) {
	failed := errors.New("disk on fire")
	for _, v := range vectors {
		c := decode(t, v.base64)
		for n := range len(c) {
			r := io.MultiReader(bytes.NewReader(c[:n]), iotest.ErrReader(failed))
			if _, _, err := expand(r); err != failed {
				t.Errorf("%s, error after %d bytes: got %v", v.command, n, err)
			}
		}
	}
}

func TestErrorsStay(t *testing.T) {
	for _, v := range vectors {
		c := decode(t, v.base64)
		rc, _, err := compression.Decompress(bytes.NewReader(c[:len(c)-1]))
		if err != nil {
			t.Fatalf("%s: %v", v.command, err)
		}
		_, first := io.ReadAll(rc)
		_, second := rc.Read(make([]byte, 1))
		if first == nil || first != second {
			t.Errorf("%s: got %v, then %v", v.command, first, second)
		}
		if err := rc.Close(); err != nil {
			t.Errorf("%s: close: %v", v.command, err)
		}
		if _, err := rc.Read(make([]byte, 1)); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("%s: read after close: %v", v.command, err)
		}
		if err := rc.Close(); err != nil {
			t.Errorf("%s: close again: %v", v.command, err)
		}
	}
}

// programs compress stdin to stdout.
var programs = []string{
	"xz -0", "xz -6", "xz -9e", "xz -T2 --block-size=65536", "xz --check=none", "xz --check=crc32", "xz --check=sha256",
	"xz --x86 --lzma2", "xz --arm64 --lzma2", "xz --delta=dist=4 --lzma2",
	"zstd -1", "zstd -19", "zstd --ultra -22", "zstd --long=27", "zstd --no-check", "pzstd -p 2",
	"gzip -1", "gzip -9", "bzip2 -1", "bzip2 -9",
}

// content returns data that resembles a program: repetitive, with some noise.
func content(n int) []byte {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		if b[i] = byte(x >> 30); i > 4096 && x>>16&127 != 0 {
			b[i] = b[i-4096]
		}
	}
	return b
}

func TestWhatProgramsWrite(t *testing.T) {
	data := content(300_000)
	for _, command := range programs {
		t.Run(command, func(t *testing.T) {
			args := strings.Fields(command)
			var out bytes.Buffer
			cmd := exec.Command(nartest.Tool(t, args[0]), append(args[1:], "-c")...)
			cmd.Stdin, cmd.Stdout = bytes.NewReader(data), &out
			if err := cmd.Run(); err != nil {
				if strings.Contains(command, "arm64") {
					t.Skip("this xz has no ARM64 filter: ", err)
				}
				t.Fatal(err)
			}
			got, _, err := expand(&out)
			if strings.Contains(command, "arm64") {
				// A newer feature than the decoder knows. It must be an error.
				if err == nil && !bytes.Equal(got, data) {
					t.Error("wrong contents and no error")
				}
				return
			}
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("got %d bytes, %v, want %d", len(got), err, len(data))
			}
		})
	}
}

// Read fills the slice that it is given.
func TestLargeReads(t *testing.T) {
	data := content(900_000)
	for _, format := range written[1:] {
		rc, _, err := compression.Decompress(bytes.NewReader(compress(t, data, format, compression.Options{Level: 1})))
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 300_000)
		for i := range 3 {
			if n, err := rc.Read(buf); n != len(buf) || err != nil {
				t.Errorf("%s, read %d: got %d, %v, want %d", format, i, n, err, len(buf))
			}
		}
		if n, err := rc.Read(buf); n != 0 || err != io.EOF {
			t.Errorf("%s: got %d, %v at the end", format, n, err)
		}
	}
}

// Abandoned readers and writers leave no goroutine running.
func TestNothingStaysBehind(t *testing.T) {
	data := content(300_000)
	before := runtime.NumGoroutine()
	for _, format := range written[1:] {
		c := compress(t, data, format, compression.Options{Level: 1})
		rc, _, err := compression.Decompress(bytes.NewReader(c))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(rc, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		w, err := compression.Compress(io.Discard, format, compression.Options{Workers: 4, Level: 1})
		if err != nil {
			t.Fatal(err)
		}
		for range 8 {
			if _, err := w.Write(data); err != nil {
				t.Fatal(err)
			}
		}
	}
	deadline := time.Now().Add(20 * time.Second)
	for runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<16)
			t.Fatalf("%d goroutines, %d before\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
		time.Sleep(10 * time.Millisecond)
	}
}
