package compression

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"testing"
	"testing/iotest"
	"time"

	"github.com/mikelolasagasti/xz"
)

// anyPart has blocks and frames decoded concurrently however small they are, and however slow the machine is.
func anyPart(t testing.TB) {
	part, xz, zstd, procs := smallestPart, slowXz, slowZstd, runtime.GOMAXPROCS(4)
	smallestPart, slowXz, slowZstd = 0, time.Hour, time.Hour
	t.Cleanup(func() { smallestPart, slowXz, slowZstd = part, xz, zstd; runtime.GOMAXPROCS(procs) })
}

// readParts reads a stream, with one block after another or concurrently.
func readParts(r io.Reader, concurrent bool) ([]byte, error) {
	d, err := newDecompressor(r, freeOutput, -1)
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

// sameParts compares what is read concurrently with what the library alone reads.
func sameParts(t testing.TB, what string, packed []byte) {
	t.Helper()
	compareParts(t, what, packed, func(err, want error) bool { return fmt.Sprint(cause(err)) == fmt.Sprint(cause(want)) })
}

// fuzzedParts is sameParts for what a fuzzer makes. Of several defects in one block, such as an end that is missing and a
// header that is wrong, it depends on how far was read which one is found.
func fuzzedParts(t testing.TB, packed []byte) {
	t.Helper()
	compareParts(t, "fuzzed", packed, func(err, want error) bool { return (err == nil) == (want == nil) })
}

func compareParts(t testing.TB, what string, packed []byte, same func(err, want error) bool) {
	t.Helper()
	want, wantErr := readParts(bytes.NewReader(packed), false)
	got, err := readParts(bytes.NewReader(packed), true)
	if !same(err, wantErr) {
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

// A reader that is closed early, or whose input fails, leaves neither goroutines nor memory. The error of the input
// comes after what can be decoded without the rest.
func TestPartsEnd(t *testing.T) {
	anyPart(t)
	data := bytes.Repeat(contentOf(10<<10), 400)
	for _, packed := range [][]byte{blockStream(t, data, "ssss"), frameStream(data, 4)} {
		endEarly(t, data, packed)
	}
}

func endEarly(t *testing.T, data, packed []byte) {
	goroutines := runtime.NumGoroutine()
	failure := errors.New("the disk is on fire")
	for n := range 8 {
		in := io.MultiReader(bytes.NewReader(packed[:len(packed)*(n+1)/9]), iotest.ErrReader(failure))
		if got, err := readParts(in, true); err != failure || !bytes.HasPrefix(data, got) {
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

// Concurrent blocks of all readers together take no more than partMemory, and if there is none left, blocks are read
// one after another.
func TestPartsMemory(t *testing.T) {
	anyPart(t)
	data := bytes.Repeat(contentOf(10<<10), 400)
	for _, packed := range [][]byte{blockStream(t, data, "ssss"), frameStream(data, 4)} {
		readMany(t, data, packed)
	}
}

func readMany(t *testing.T, data, packed []byte) {
	var readers []io.ReadCloser
	for range 16 {
		dec, _, err := Decompress(bytes.NewReader(packed))
		if err != nil {
			t.Fatal(err)
		}
		readers = append(readers, dec)
		if _, err := io.ReadFull(dec, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
	}
	if held := heldMemory.Load(); held > partMemory || held < partMemory/2 {
		t.Errorf("16 readers hold %d bytes, want nearly %d", held, partMemory)
	}
	for i, r := range readers {
		if i%5 > 0 {
			r.Close()
			continue
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data[10:]) {
			t.Errorf("got %d bytes, %v", len(got), err)
		}
		r.Close()
	}
	if held := heldMemory.Load(); held != 0 {
		t.Errorf("%d bytes are still held", held)
	}
}
