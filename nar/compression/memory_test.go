package compression

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"narseal/nar/nartest"
)

// streams are streams with windows and dictionaries of many sizes.
func streams(t *testing.T, data []byte) map[string][]byte {
	all := map[string][]byte{}
	for _, format := range []Type{Gzip, Zstd, Xz} {
		var b bytes.Buffer
		w, err := Compress(&b, format, Options{})
		if err != nil {
			t.Fatal(err)
		}
		w.Write(data)
		w.Close()
		all[string(format)] = b.Bytes()
	}
	for _, window := range []int{1 << 10, 1 << 20, 32 << 20, 128 << 20} {
		var b bytes.Buffer
		w, err := zstd.NewWriter(&b, zstd.WithWindowSize(window), zstd.WithSingleSegment(false), zstd.WithEncoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		w.Write(data)
		w.Close()
		all[fmt.Sprint("zstd window ", window)] = b.Bytes()
		skippable := append([]byte("\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"), b.Bytes()...)
		all[fmt.Sprint("zstd skippable, window ", window)] = skippable
	}
	for _, args := range []string{"xz -0", "xz -6", "xz -9", "xz --x86 --lzma2=dict=48MiB", "xz --block-size=1MiB -T2", "bzip2 -9", "bzip2 -1"} {
		words := strings.Fields(args)
		cmd := exec.Command(nartest.Tool(t, words[0]), append(words[1:], "-c")...)
		cmd.Stdin = bytes.NewReader(data)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		all[args] = out
	}
	return all
}

// A stream is read within the memory that it says it takes, and not with less.
func TestDecompressWithin(t *testing.T) {
	data := bytes.Repeat([]byte("some text, which goes on and on; "), 100_000)
	for name, packed := range streams(t, data) {
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		dec, _, used, err := DecompressWithin(bytes.NewReader(packed), 1<<30)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := io.ReadAll(io.LimitReader(dec, int64(len(data))))
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		got = nil
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(dec)
		if took := int64(after.HeapAlloc) - int64(before.HeapAlloc); took > used {
			t.Errorf("%s: took %d bytes of memory, said %d", name, took, used)
		}
		dec.Close()
		if _, _, _, err := DecompressWithin(bytes.NewReader(packed), used-1); !errors.Is(err, ErrMemory) {
			t.Errorf("%s: with a byte less: %v", name, err)
		}
	}
}

// Every damaged header is refused by the decoder, not by a panic.
func TestDecompressWithinDamaged(t *testing.T) {
	for _, packed := range streams(t, []byte("text")) {
		for cut := range min(len(packed), 40) {
			for _, b := range [][]byte{packed[:cut], append(append(bytes.Clone(packed[:cut]), packed[cut]^0xff), packed[cut+1:]...)} {
				dec, _, _, err := DecompressWithin(bytes.NewReader(b), 1<<30)
				if err == nil {
					io.Copy(io.Discard, io.LimitReader(dec, 1<<20))
					dec.Close()
				}
			}
		}
	}
	broken := errors.New("broken")
	for _, head := range []string{"\xfd7zXZ\x00", "\x28\xb5\x2f\xfd"} {
		r := io.MultiReader(strings.NewReader(head), &failingReader{broken})
		if _, _, _, err := DecompressWithin(r, 1<<30); !errors.Is(err, broken) {
			t.Errorf("%q: got error %v", head, err)
		}
	}
}

type failingReader struct{ err error }

func (f *failingReader) Read([]byte) (int, error) { return 0, f.err }
