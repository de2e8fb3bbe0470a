package compression

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os/exec"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"narseal/nar/nartest"
)

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
	anyPart(t)
	for name, packed := range blockStreams(t) {
		sameParts(t, name, packed)
		step := 7
		if name == "sized" {
			step = 1
		}
		for n := 6; n < len(packed); n += step {
			sameParts(t, fmt.Sprint(name, " cut at ", n), packed[:n])
		}
		for at := 6; at < len(packed); at += step {
			damaged := bytes.Clone(packed)
			damaged[at] ^= 1 << (at % 8)
			if badRangeCoder(damaged) {
				continue // the library does not look at some of these bytes: TestXzRangeCoder
			}
			sameParts(t, fmt.Sprint(name, " damaged at ", at), damaged)
		}
	}
}

func badRangeCoder(packed []byte) bool {
	dec, _, err := Decompress(bytes.NewReader(packed))
	if err != nil {
		return false
	}
	defer dec.Close()
	_, err = io.Copy(io.Discard, dec)
	return errors.Is(err, errXzRangeCoder)
}

// Every bit that xz does not accept is refused, also those that the library does not look at.
func TestXzRangeCoder(t *testing.T) {
	tool := nartest.Tool(t, "xz")
	anyPart(t)
	data := contentOf(3000)
	seen := 0
	for _, args := range []string{"-T1 -0", "-T2 -0 --block-size=1000", "-T1 -0 --x86 --lzma2=preset=0"} {
		cmd := exec.Command(tool, append(strings.Fields(args), "-c")...)
		cmd.Stdin = bytes.NewReader(data)
		packed, err := cmd.Output()
		if err != nil {
			t.Fatal(args, err)
		}
		for at := range packed {
			if packed[at] != 0 && at%5 > 0 {
				continue
			}
			damaged := bytes.Clone(packed)
			damaged[at] ^= 1 << (at % 8)
			dec, kind, err := Decompress(bytes.NewReader(damaged))
			if err == nil {
				_, err = io.Copy(io.Discard, dec)
				dec.Close()
			}
			if kind != Xz {
				continue
			}
			if errors.Is(err, errXzRangeCoder) {
				seen++
			}
			check := exec.Command(tool, "-t")
			check.Stdin = bytes.NewReader(damaged)
			if wrong := check.Run(); wrong != nil && err == nil {
				t.Errorf("xz %s damaged at %d: got no error, xz says %v", args, at, wrong)
			} else if wrong == nil && err != nil {
				t.Errorf("xz %s damaged at %d: got %v, xz has no error", args, at, err)
			}
		}
	}
	if seen < 3 {
		t.Errorf("%d range coders were damaged", seen)
	}
}

// Headers whose checksum is right lie about sizes; so does the index.
func TestXzReaderLies(t *testing.T) {
	anyPart(t)
	data := contentOf(900)
	packed := blockStream(t, data, "sss")
	header := packed[xzHeaderSize:][:4*(int(packed[xzHeaderSize])+1)]
	for at := 1; at < len(header)-4; at++ {
		for _, v := range []byte{0, 0x7f, 0x80, 0xff, header[at] + 1, header[at] - 1} {
			lie := bytes.Clone(packed)
			h := lie[xzHeaderSize:][:len(header)]
			h[at] = v
			binary.LittleEndian.PutUint32(h[len(h)-4:], crc32.ChecksumIEEE(h[:len(h)-4]))
			sameParts(t, fmt.Sprintf("header byte %d is %#x", at, v), lie)
		}
	}
	size := 4 * (int(binary.LittleEndian.Uint32(packed[len(packed)-8:])) + 1)
	for at := range size - 4 {
		for _, v := range []byte{0, 1, 0x7f, 0x80, 0xff} {
			lie := bytes.Clone(packed)
			index := lie[len(lie)-xzFooterSize-size:][:size]
			index[at] = v
			binary.LittleEndian.PutUint32(index[size-4:], crc32.ChecksumIEEE(index[:size-4]))
			sameParts(t, fmt.Sprintf("index byte %d is %#x", at, v), lie)
		}
	}
}

// What xz -T writes is read, with blocks of the size that goroutines are for, and of a size that does not fit.
func TestXzReaderOfPrograms(t *testing.T) {
	tool := nartest.Tool(t, "xz")
	slow := slowXz
	slowXz = time.Hour
	t.Cleanup(func() { slowXz = slow })
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

func FuzzXzReader(f *testing.F) {
	anyPart(f)
	for _, packed := range blockStreams(f) {
		f.Add(packed)
	}
	f.Fuzz(func(t *testing.T, packed []byte) {
		if Detect(packed) == Xz && !badRangeCoder(packed) {
			fuzzedParts(t, packed)
		}
	})
}
