package compression

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"narseal/nar/nartest"
)

const testBlock = 4096

// blocks compresses data with blocks of 4 KiB.
func blocks(w io.Writer, data []byte, workers int) error {
	x := newXzWriter(w, Options{Level: 1, Workers: workers})
	x.blockSize = testBlock
	for len(data) > 0 { // in pieces that do not divide a block
		n := min(len(data), 1000)
		if m, err := x.Write(data[:n]); err != nil {
			return err
		} else if m != n {
			return fmt.Errorf("wrote %d of %d bytes", m, n)
		}
		data = data[n:]
	}
	return x.Close()
}

func text(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%d squared is %d\n", i, i*i)
	}
	return b.Bytes()[:n]
}

func TestXzBlocks(t *testing.T) {
	for n, want := range map[int]int{
		0: 1, 1: 1, testBlock - 1: 1, testBlock: 1, testBlock + 1: 2, 5 * testBlock: 5, 5*testBlock + 1: 6, 130 * testBlock: 130,
	} {
		data := text(n)
		var first []byte
		for _, workers := range []int{1, 3} {
			var c bytes.Buffer
			if err := blocks(&c, data, workers); err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = c.Bytes()
			} else if !bytes.Equal(c.Bytes(), first) {
				t.Errorf("%d bytes: %d workers write something else than one", n, workers)
			}
		}
		rc, _, err := Decompress(bytes.NewReader(first))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(rc); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes: got %d, %v", n, len(got), err)
		}

		t.Run(fmt.Sprint("xz reads ", n), func(t *testing.T) {
			xz := nartest.Tool(t, "xz")
			file := filepath.Join(t.TempDir(), "x.xz")
			if err := os.WriteFile(file, first, 0o644); err != nil {
				t.Fatal(err)
			}
			if got, err := exec.Command(xz, "-dc", file).Output(); err != nil || !bytes.Equal(got, data) {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
			// Some decoders stop at the end of the first of several streams.
			out, err := exec.Command(xz, "--robot", "--list", file).Output()
			line := fmt.Sprintf("file\t1\t%d\t%d\t%d\t", want, len(first), n)
			if err != nil || !strings.Contains(string(out), line) {
				t.Errorf("got %q, %v, want %q", out, err, line)
			}
			sizes := "yes" // in all headers: blocks can be decoded in parallel
			if n < testBlock {
				sizes = "no"
			}
			if out, err = exec.Command(xz, "--robot", "--list", "-vv", file).Output(); err != nil ||
				!bytes.Contains(out, []byte("\t"+sizes+"\t")) {
				t.Errorf("got %q, %v, want %s for sizes in headers", out, err, sizes)
			}
		})
	}
}

var errFull = errors.New("no space left")

// A limitedWriter fails once, after n bytes.
type limitedWriter struct{ n int }

func (w *limitedWriter) Write(p []byte) (int, error) {
	if len(p) > w.n {
		n := w.n
		w.n = 1 << 30
		return n, errFull
	}
	w.n -= len(p)
	return len(p), nil
}

// However late a write fails, it is an error, and the writer stops.
func TestXzFailingWriter(t *testing.T) {
	data := text(3*testBlock + 1)
	var whole bytes.Buffer
	if err := blocks(&whole, data, 1); err != nil {
		t.Fatal(err)
	}
	for n := 0; n < whole.Len(); n += 97 {
		for _, workers := range []int{1, 3} {
			if err := blocks(&limitedWriter{n}, data, workers); err != errFull {
				t.Errorf("full after %d bytes, %d workers: got %v", n, workers, err)
			}
		}
	}
	for n := whole.Len() - 30; n < whole.Len(); n++ {
		x := newXzWriter(&limitedWriter{n}, Options{Workers: 2})
		x.blockSize = testBlock
		if _, err := x.Write(data); err != nil {
			t.Fatal(err)
		}
		first, second := x.Close(), x.Close()
		_, third := x.Write(data)
		if first != errFull || second != errFull || third != errFull {
			t.Errorf("full after %d bytes: got %v, %v, %v", n, first, second, third)
		}
	}
}

func TestXzWriteAfterClose(t *testing.T) {
	x := newXzWriter(io.Discard, Options{Workers: 1})
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Write([]byte("x")); err == nil {
		t.Error("write: no error")
	}
	if err := x.Close(); err == nil {
		t.Error("close: no error")
	}
}
