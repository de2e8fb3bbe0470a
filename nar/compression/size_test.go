package compression

import (
	"bytes"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"

	"narseal/nar/nartest"
)

// sized decompresses contents of at most size bytes, and returns what memory was asked for.
func sized(r io.Reader, size int64) (got []byte, memory int64, err error) {
	dec, _, err := DecompressWith(r, size, func(n int64) error { memory = n; return nil })
	if err != nil {
		return nil, memory, err
	}
	defer dec.Close()
	got, err = io.ReadAll(dec)
	return got, memory, err
}

// Streams of other programs, several in one, take no larger window than their contents need.
func TestSizedWindows(t *testing.T) {
	small, large := contentOf(3000), bytes.Repeat(contentOf(1<<20), 10)
	for _, c := range []struct{ tool, args string }{
		{"zstd", "-3 --long=27"}, {"zstd", "--ultra -22"}, {"zstd", "-3 --no-check --long=27"}, {"zstd", "-1"},
		{"xz", "-9 -T1"}, {"xz", "-0 --lzma2=preset=0,dict=64MiB --check=sha256 -T1"}, {"xz", "-0 --x86 --lzma2=preset=0,dict=64MiB -T1"},
		{"xz", "-0 --block-size=4MiB --lzma2=preset=0,dict=64MiB -T2"}, {"xz", "-0"},
	} {
		tool := nartest.Tool(t, c.tool)
		for _, data := range [][]byte{small, large} {
			var packed []byte
			for _, part := range [][]byte{data[:len(data)/3], data[len(data)/3:]} {
				cmd := exec.Command(tool, append(strings.Fields(c.args), "-c")...)
				cmd.Stdin = bytes.NewReader(part) // so that no frame says how long it is
				out, err := cmd.Output()
				if err != nil {
					t.Fatal(c, err)
				}
				packed = append(packed, out...)
			}
			if c.tool == "zstd" {
				packed = append([]byte("\x5a\x2a\x4d\x18\x03\x00\x00\x00abc"), packed...) // a frame that is skipped
			}
			whole := bytes.Clone(packed)
			for _, size := range []int64{int64(len(data)), int64(len(data)) + 12345, 1 << 40, -1} {
				got, memory, err := sized(iotest.HalfReader(bytes.NewReader(packed)), size)
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("%s %s, %d bytes, size %d: got %d bytes, %v", c.tool, c.args, len(data), size, len(got), err)
				}
				dec, _, err := decompress(iotest.HalfReader(bytes.NewReader(packed)), freeOutput, size)
				if err != nil {
					t.Fatal(err)
				}
				got, err = io.ReadAll(dec)
				dec.Close()
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("decompress of %s %s, %d bytes, size %d: got %d bytes, %v", c.tool, c.args, len(data), size, len(got), err)
				}
				if most := max(usualWindow, size/8*12) + xzMemory + inputBuffer + 1<<20; size >= 0 && size < 1<<30 && memory > most {
					t.Errorf("%s %s, %d bytes, size %d: %d bytes of memory, want at most %d", c.tool, c.args, len(data), size, memory, most)
				}
			}
			if !bytes.Equal(packed, whole) {
				t.Error("the input was changed")
			}
			// Longer contents than was said give no more than all of them, or an error.
			if got, _, err := sized(bytes.NewReader(packed), 1); err == nil && !bytes.Equal(got, data) || !bytes.HasPrefix(data, got) {
				t.Errorf("%s %s: got %d bytes, %v", c.tool, c.args, len(got), err)
			}
		}
	}
}

// A small stream of other programs takes little memory also if nobody says how large its contents are. The bounds by its
// blocks and chunks are right.
func TestFitSmall(t *testing.T) {
	for _, c := range []struct{ tool, args string }{
		{"zstd", "-3 --long=27"}, {"zstd", "--ultra -22"}, {"zstd", "-3 --no-check --long=27"},
		{"xz", "-9 -T1"}, {"xz", "-9 --check=sha256 -T1"}, {"xz", "-9 --check=none -T1"}, {"xz", "-9 --x86 --lzma2=preset=0,dict=64MiB -T1"},
		{"xz", "-0 --block-size=100KiB --lzma2=preset=0,dict=64MiB -T2"},
	} {
		tool := nartest.Tool(t, c.tool)
		for _, data := range [][]byte{{}, contentOf(3000), bytes.Repeat(contentOf(1000), 1000)} {
			cmd := exec.Command(tool, append(strings.Fields(c.args), "-c")...)
			cmd.Stdin = bytes.NewReader(data)
			packed, err := cmd.Output()
			if err != nil {
				t.Fatal(c, err)
			}
			if c.tool == "xz" {
				packed = append(packed, 0, 0, 0, 0)
			}
			packed, data := append(packed, packed...), append(data, data...)
			if most := zstdContents(packed); c.tool == "zstd" && (most < int64(len(data)) || most > int64(len(data))+(4*128<<10)) {
				t.Errorf("%s %s, %d bytes: at most %d", c.tool, c.args, len(data), most)
			}
			if size := xzContents(packed); c.tool == "xz" && size != int64(len(data)) {
				t.Errorf("%s %s, %d bytes: %d by the chunks", c.tool, c.args, len(data), size)
			}
			dec, _, used, err := DecompressWithin(bytes.NewReader(packed), 8<<20)
			if err != nil {
				t.Errorf("%s %s, %d bytes: %v", c.tool, c.args, len(data), err)
				continue
			}
			got, err := io.ReadAll(dec)
			dec.Close()
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s %s, %d bytes: got %d, %v, with %d bytes of memory", c.tool, c.args, len(data), len(got), err, used)
			}
			for n := range min(len(packed), 200, 200*len(data)) { // cut off anywhere
				if dec, _, _, err := DecompressWithin(bytes.NewReader(packed[:n]), 8<<20); err == nil {
					if got, err := io.ReadAll(dec); err == nil && n > 6 {
						t.Errorf("%s %s cut at %d: got %d bytes", c.tool, c.args, n, len(got))
					}
					dec.Close()
				}
			}
		}
	}
}

// A frame that says that it is longer than all contents is an error at once.
func TestSizedFrame(t *testing.T) {
	frame := []byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 4, 1, 0, 0} // of 64 MiB
	if _, memory, err := sized(bytes.NewReader(frame), 100); err == nil || !strings.Contains(err.Error(), "a frame of 67108864 bytes, want at most") || memory > 0 {
		t.Errorf("%v, %d bytes of memory", err, memory)
	}
}

// What passes is as another parser reads it: only windows change, and none grows.
func FuzzZstdWindows(f *testing.F) {
	for _, data := range [][]byte{nil, contentOf(100), contentOf(300_000)} {
		for _, o := range [][]zstd.EOption{{zstd.WithWindowSize(1 << 27)}, {zstd.WithSingleSegment(true)}, {zstd.WithEncoderCRC(false), zstd.WithWindowSize(1 << 26)}} {
			w, err := zstd.NewWriter(nil, o...)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(append([]byte("\x50\x2a\x4d\x18\x01\x00\x00\x00x"), w.EncodeAll(data, nil)...), uint16(3))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, step uint16) {
		out := bytes.Clone(in)
		z := &zstdWindows{most: usualWindow}
		for part := range slices.Chunk(out, int(step)+1) {
			z.pass(part)
		}
		var h, now zstd.Header
		if len(in) > 0 && h.Decode(in) == nil && !h.Skippable {
			if err := now.Decode(out); err != nil {
				t.Fatal(err)
			}
			want := h
			if !h.SingleSegment {
				want.WindowSize = min(h.WindowSize, usualWindow)
			}
			if now != want {
				t.Fatalf("got %+v, want %+v", now, want)
			}
		}
		a, errA := decode(in)
		b, errB := decode(out)
		if errors.Is(errA, zstd.ErrWindowSizeExceeded) {
			return
		}
		if len(a) < usualWindow && (!bytes.Equal(a, b) || (errA == nil) != (errB == nil)) {
			t.Fatalf("got %d bytes, %v, before %d, %v", len(b), errB, len(a), errA)
		}
	})
}

func decode(b []byte) ([]byte, error) {
	dec, err := zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxZstdWindow))
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	return io.ReadAll(io.LimitReader(dec, usualWindow))
}

// Later streams and frames of a small stream, and what follows a stream without contents, may have larger windows than the
// first.
func TestLargerLater(t *testing.T) {
	large := contentOf(6 << 20)
	run := func(data []byte, tool string, args ...string) []byte {
		cmd := exec.Command(nartest.Tool(t, tool), append(args, "-c")...)
		cmd.Stdin = bytes.NewReader(data)
		packed, err := cmd.Output()
		if err != nil {
			t.Fatal(tool, args, err)
		}
		return packed
	}
	zeros := make([]byte, 20<<20)
	for name, c := range map[string]struct{ packed, data []byte }{
		"frames":           {append(run([]byte("x"), "zstd", "-1"), run(zeros, "zstd", "-1", "--long=27")...), append([]byte("x"), zeros...)},
		"streams":          {append(run([]byte("x"), "xz", "-0"), run(zeros, "xz", "-9")...), append([]byte("x"), zeros...)},
		"an empty stream":  {append(run(nil, "xz", "-0"), run(large, "xz", "-6")...), large},
		"two of them":      {append(bytes.Repeat(run(nil, "xz", "-0"), 2), run(large, "xz", "-6")...), large},
		"only empty":       {bytes.Repeat(run(nil, "xz", "-0"), 2), nil},
		"an empty one, -9": {append(run(nil, "xz", "-0"), run(zeros, "xz", "-9")...), zeros},
	} {
		for _, size := range []int64{-1, int64(len(c.data))} {
			if size >= 0 && strings.HasSuffix(name, "s") {
				continue // an error: it is not known how much memory they take
			}
			got, _, err := sized(bytes.NewReader(c.packed), size)
			if err != nil || !bytes.Equal(got, c.data) {
				t.Errorf("%s, size %d: got %d bytes, %v, want %d", name, size, len(got), err, len(c.data))
			}
		}
	}
}
