package compression

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"narseal/nar/nartest"
)

// largeWindows returns streams that other programs made of data with large windows.
func largeWindows(t *testing.T, data []byte) map[string][]byte {
	file := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(file, data, 0o666); err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, command := range []string{
		"zstd -1 --long=27 -c <", "zstd -1 --long=27 -c", // without and with the size of the contents
		"xz -0 --lzma2=preset=0,dict=64MiB -T1 -c", "xz -0 --block-size=3MiB --lzma2=preset=0,dict=64MiB -T2 -c",
	} {
		name, stdin := strings.CutSuffix(command, " <")
		args := strings.Fields(name)
		cmd := exec.Command(nartest.Tool(t, args[0]), args[1:]...)
		if stdin {
			cmd.Stdin = bytes.NewReader(data)
		} else {
			cmd.Args = append(cmd.Args, file)
		}
		packed, err := cmd.Output()
		if err != nil {
			t.Fatal(command, err)
		}
		all[command] = packed
	}
	return all
}

// Streams with large windows are decoded as other programs made them, wherever their contents end.
func TestCautious(t *testing.T) {
	const zstdLimit = usualWindow - 2*maxZstdBlock
	far := noise(10 << 20)
	for name, data := range map[string][]byte{
		"small": contentOf(1000), "xz's limit": contentOf(2 << 20), "one byte more": contentOf(2<<20 + 1),
		"zstd's limit": noise(zstdLimit), "one byte more than zstd's": noise(zstdLimit + 1), "the usual window": noise(usualWindow),
		"far matches": append(bytes.Clone(far), far...), "zeros": make([]byte, 9<<20),
	} {
		for command, packed := range largeWindows(t, data) {
			for n := range 2 { // a second stream after it
				if n > 0 && len(data) > 4<<20 {
					continue
				}
				parts, want := bytes.Repeat(packed, n+1), bytes.Repeat(data, n+1)
				r := io.Reader(bytes.NewReader(parts))
				if n > 0 {
					r = iotest.HalfReader(r)
				}
				got, memory, err := sized(r, -1)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s, %s, %d bytes of memory: got %d bytes, %v, want %d", name, command, memory, len(got), err, len(want))
				}
			}
			for _, cut := range []int{len(packed) - 5, min(len(packed)/2, 4<<20), 20} {
				got, _, err := sized(bytes.NewReader(packed[:cut]), -1)
				if err == nil || !bytes.HasPrefix(data, got) {
					t.Errorf("%s, %s, cut at %d of %d: got %d bytes, %v", name, command, cut, len(packed), len(got), err)
				}
			}
			if len(data) > 4<<20 {
				continue
			}
			if got, _, err := sized(bytes.NewReader(append(bytes.Clone(packed), "more"...)), -1); err == nil || !bytes.HasPrefix(data, got) {
				t.Errorf("%s, %s, followed by text: got %d bytes, %v", name, command, len(got), err)
			}
		}
	}
}

// A stream with few contents takes no large window, whatever it asks for, if it is damaged, padded or long.
func TestCautiousMemory(t *testing.T) {
	data := contentOf(3000)
	skipped := append([]byte("\x50\x2a\x4d\x18\x00\x00\x08\x00"), make([]byte, 512<<10)...)
	frame := func(descriptor string) []byte { // a frame whose last block is missing
		return []byte("\x28\xb5\x2f\xfd" + descriptor + "\x28\x00\x00hello")
	}
	streams := map[string][]byte{
		"a window of 128 MiB, cut": frame("\x00\x88"), "128 MiB of contents, cut": frame("\xa0\x00\x00\x00\x08"),
		"128 MiB of contents, of 8 bytes, cut": frame("\xe0\x00\x00\x00\x08\x00\x00\x00\x00"),
		"a second frame of 128 MiB":            append([]byte("\x28\xb5\x2f\xfd\x00\x80\x01\x00\x00"), frame("\xa0\x00\x00\x00\x08")...),
		"128 MiB of contents, whole":           append([]byte("\x28\xb5\x2f\xfd\xa0\x00\x00\x00\x08\x29\x00\x00hello"), skipped...),
	}
	for command, packed := range largeWindows(t, data) {
		streams[command+", cut"] = packed[:len(packed)-5]
		streams[command+", with a byte more"] = append(bytes.Clone(packed), 'x')
		if strings.HasPrefix(command, "zstd") {
			streams[command+", padded"] = append(bytes.Clone(packed), skipped...)
		} else {
			streams[command+", padded"] = append(bytes.Clone(packed), make([]byte, 512<<10)...)
		}
	}
	for name, packed := range streams {
		sized(bytes.NewReader(packed), -1) // makes what is used again
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		const n = 4
		for range n {
			got, _, err := sized(bytes.NewReader(packed), -1)
			if padded := strings.HasSuffix(name, ", padded"); !bytes.HasPrefix(append(bytes.Clone(data), "hello"...), got) && string(got) != "hello" ||
				(err == nil) != padded {
				t.Errorf("%s: got %d bytes, %v", name, len(got), err)
			}
		}
		runtime.ReadMemStats(&after)
		if each := (after.TotalAlloc - before.TotalAlloc) / n; each > 2*usualWindow {
			t.Errorf("%s: %d KiB are allocated for each", name, each>>10)
		}
	}
}

// The start of a stream is kept until it is known whether its contents are long, but no more than that.
func TestCautiousInput(t *testing.T) {
	// Blocks without contents, then some contents, with a window of 128 MiB.
	stream := []byte("\x28\xb5\x2f\xfd\x00\x88")
	stream = append(stream, bytes.Repeat([]byte{0, 0, 0}, usualWindow)...)
	stream = append(stream, "\x29\x00\x00hello"...)
	got, memory, err := sized(bytes.NewReader(stream), -1)
	if err != nil || string(got) != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
	if want := int64(maxZstdWindow + 3*usualWindow); memory > want {
		t.Errorf("%d bytes of memory, want at most %d", memory, want)
	}
}
