package compression

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/mikelolasagasti/xz"

	"narseal/nar/nartest"
)

// anyBlock has blocks decoded concurrently however small they are, and however slow the machine is.
func anyBlock(t testing.TB) {
	block, input, procs := smallestBlock, slowInput, runtime.GOMAXPROCS(4)
	smallestBlock, slowInput = 0, time.Hour
	t.Cleanup(func() { smallestBlock, slowInput = block, input; runtime.GOMAXPROCS(procs) })
}

// blockStream returns a stream of blocks. sized has a letter for each: s has its sizes in the header, u does not.
func blockStream(t testing.TB, contents []byte, sized string) []byte {
	head := encodeXzBlock(nil, 64<<10, false).header
	index := binary.AppendUvarint([]byte{0}, uint64(len(sized)))
	stream := bytes.Clone(head)
	for i, c := range sized {
		part := contents[i*len(contents)/len(sized) : (i+1)*len(contents)/len(sized)]
		b := encodeXzBlock(part, 64<<10, c == 's')
		if b.err != nil {
			t.Fatal(b.err)
		}
		stream, index = append(stream, b.data...), append(index, b.record...)
	}
	return append(stream, appendXzEnd(index, head[6:8])...)
}

// readXz reads a stream, with one block after another or concurrently.
func readXz(r io.Reader, concurrent bool) ([]byte, error) {
	d, err := newDecompressor(r, freeOutput)
	if err != nil {
		return nil, err
	}
	d.concurrent = concurrent
	if _, _, err := d.open(usualWindow); err != nil {
		return nil, err
	}
	defer d.Close()
	return io.ReadAll(d)
}

// sameXz compares what is read concurrently with what the library alone reads.
func sameXz(t testing.TB, what string, packed []byte) {
	t.Helper()
	want, wantErr := readXz(bytes.NewReader(packed), false)
	got, err := readXz(bytes.NewReader(packed), true)
	if fmt.Sprint(cause(err)) != fmt.Sprint(cause(wantErr)) {
		t.Errorf("%s: got %v, the library %v", what, err, wantErr)
	}
	// How much a decoder returns before an error depends on how it is read.
	if n := min(len(got), len(want)); !bytes.Equal(got[:n], want[:n]) || err == nil && len(got) != len(want) {
		t.Errorf("%s: got %d bytes, the library %d, or others", what, len(got), len(want))
	}
	if n := heldMemory.Load(); n != 0 {
		t.Fatalf("%s: %d bytes are still held", what, n)
	}
}

// cause is an error without the offset.
func cause(err error) error {
	for _, known := range []error{io.ErrUnexpectedEOF, xz.ErrData, xz.ErrFormat, xz.ErrOptions, xz.ErrMemlimit, xz.ErrUnsupportedCheck} {
		if errors.Is(err, known) {
			return known
		}
	}
	return err
}

func blockStreams(t testing.TB) map[string][]byte {
	data := contentOf(300)
	sized, mixed := blockStream(t, data, "sss"), blockStream(t, data, "susu")
	zeros := make([]byte, 8)
	return map[string][]byte{
		"one":               blockStream(t, data, "s"),
		"sized":             sized,
		"mixed":             mixed,
		"not sized":         blockStream(t, data, "uu"),
		"two":               append(bytes.Clone(sized), mixed...),
		"padded":            append(append(bytes.Clone(sized), zeros...), sized...),
		"padded at the end": append(bytes.Clone(sized), zeros...),
		"padded badly":      append(append(bytes.Clone(sized), zeros[:6]...), sized...),
		"followed":          append(bytes.Clone(sized), "abc"...),
	}
}

func contentOf(n int) []byte {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		if b[i] = byte(x >> 27); i > 99 && x>>16&15 != 0 {
			b[i] = b[i-99]
		}
	}
	return b
}

// Streams of blocks are read like by the library: whole, cut, and with a bit changed.
func TestXzReader(t *testing.T) {
	anyBlock(t)
	for name, packed := range blockStreams(t) {
		sameXz(t, name, packed)
		step := 7
		if name == "sized" {
			step = 1
		}
		for n := 6; n < len(packed); n += step {
			sameXz(t, fmt.Sprint(name, " cut at ", n), packed[:n])
		}
		for at := 6; at < len(packed); at += step {
			damaged := bytes.Clone(packed)
			damaged[at] ^= 1 << (at % 8)
			sameXz(t, fmt.Sprint(name, " damaged at ", at), damaged)
		}
	}
}

// Headers whose checksum is right lie about sizes; so does the index.
func TestXzReaderLies(t *testing.T) {
	anyBlock(t)
	data := contentOf(900)
	packed := blockStream(t, data, "sss")
	header := packed[xzHeaderSize:][:4*(int(packed[xzHeaderSize])+1)]
	for at := 1; at < len(header)-4; at++ {
		for _, v := range []byte{0, 0x7f, 0x80, 0xff, header[at] + 1, header[at] - 1} {
			lie := bytes.Clone(packed)
			h := lie[xzHeaderSize:][:len(header)]
			h[at] = v
			binary.LittleEndian.PutUint32(h[len(h)-4:], crc32.ChecksumIEEE(h[:len(h)-4]))
			sameXz(t, fmt.Sprintf("header byte %d is %#x", at, v), lie)
		}
	}
	size := 4 * (int(binary.LittleEndian.Uint32(packed[len(packed)-8:])) + 1)
	for at := range size - 4 {
		for _, v := range []byte{0, 1, 0x7f, 0x80, 0xff} {
			lie := bytes.Clone(packed)
			index := lie[len(lie)-xzFooterSize-size:][:size]
			index[at] = v
			binary.LittleEndian.PutUint32(index[size-4:], crc32.ChecksumIEEE(index[:size-4]))
			sameXz(t, fmt.Sprintf("index byte %d is %#x", at, v), lie)
		}
	}
}

// What xz -T writes is read, with blocks of the size that goroutines are for, and of a size that does not fit.
func TestXzReaderOfPrograms(t *testing.T) {
	tool := nartest.Tool(t, "xz")
	slow := slowInput
	slowInput = time.Hour
	t.Cleanup(func() { slowInput = slow })
	data := bytes.Repeat(contentOf(100<<10), 20)
	for _, args := range []string{"-T2 -0", "-T2 -1 --block-size=1MiB", "-T2 -0 --check=none --block-size=300KiB",
		"-T2 -0 --check=sha256 --block-size=1MiB", "-T2 -0 --x86 --lzma2=preset=0 --block-size=1MiB", "-T2 -9"} {
		cmd := exec.Command(tool, append(strings.Fields(args), "-c")...)
		cmd.Stdin = bytes.NewReader(data)
		packed, err := cmd.Output()
		if err != nil {
			t.Fatal(args, err)
		}
		for name, r := range map[string]io.Reader{"whole": bytes.NewReader(packed), "byte by byte": iotest.OneByteReader(bytes.NewReader(packed))} {
			dec, _, err := Decompress(r)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(dec)
			dec.Close()
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("xz %s, %s: got %d bytes, %v, want %d", args, name, len(got), err, len(data))
			}
		}
	}
}

// A reader that is closed early, or whose input fails, leaves neither goroutines nor memory. The error of the input
// comes after what can be decoded without the rest.
func TestXzReaderEnds(t *testing.T) {
	anyBlock(t)
	data := bytes.Repeat(contentOf(10<<10), 400)
	packed := blockStream(t, data, "ssss")
	goroutines := runtime.NumGoroutine()
	failure := errors.New("the disk is on fire")
	for n := range 8 {
		in := io.MultiReader(bytes.NewReader(packed[:len(packed)*(n+1)/9]), iotest.ErrReader(failure))
		if got, err := readXz(in, true); err != failure || !bytes.HasPrefix(data, got) {
			t.Errorf("part %d: got %d bytes, %v", n, len(got), err)
		}
		dec, _, err := Decompress(bytes.NewReader(packed))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(dec, make([]byte, n*len(data)/8)); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		dec.Close()
		if held := heldMemory.Load(); held != 0 {
			t.Fatalf("after %d of 8 parts %d bytes are held", n, held)
		}
		for end := time.Now().Add(20 * time.Second); runtime.NumGoroutine() > goroutines; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("after %d of 8 parts %d goroutines are left", n, runtime.NumGoroutine()-goroutines)
			}
		}
	}
}

// Concurrent blocks of all readers together take no more than blockMemory, and if there is none left, blocks are read
// one after another.
func TestXzReaderMemory(t *testing.T) {
	anyBlock(t)
	data := bytes.Repeat(contentOf(10<<10), 400)
	packed := blockStream(t, data, "ssss")
	var readers []io.ReadCloser
	for range 12 {
		dec, _, err := Decompress(bytes.NewReader(packed))
		if err != nil {
			t.Fatal(err)
		}
		readers = append(readers, dec)
		if _, err := io.ReadFull(dec, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
	}
	if held := heldMemory.Load(); held > blockMemory || held < blockMemory/2 {
		t.Errorf("12 readers hold %d bytes, want nearly %d", held, blockMemory)
	}
	for _, r := range readers {
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data[10:]) {
			t.Errorf("got %d bytes, %v", len(got), err)
		}
		r.Close()
	}
	if held := heldMemory.Load(); held != 0 {
		t.Errorf("%d bytes are still held", held)
	}
}

func FuzzXzReader(f *testing.F) {
	anyBlock(f)
	for _, packed := range blockStreams(f) {
		f.Add(packed)
	}
	f.Fuzz(func(t *testing.T, packed []byte) {
		if Detect(packed) == Xz {
			sameXz(t, "fuzzed", packed)
		}
	})
}
