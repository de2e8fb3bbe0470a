package filter_test

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"narseal/filter"
	"narseal/filter/spill"
	"narseal/macho/machotest"
	"narseal/nar"
	"narseal/nar/nartest"
)

var errDisk = errors.New("input/output error")

// faultTree holds everything that a run treats in its own way.
func faultTree(t *testing.T) (in, out []byte) {
	t.Helper()
	tree := func(hash string) []byte {
		big, _ := machotest.Image{CodeSize: 300_000, Text: []byte(hash), Directories: []machotest.Directory{{PageShift: 12}}}.Build()
		small, _ := plainImage(hash)
		return nartest.Tree(nartest.Dir{
			"big":       nartest.Exec(big),
			"l":         nartest.Symlink(hash),
			hash + "-z": nartest.Dir{"small": nartest.Exec(small), "text": nartest.File(strings.Repeat(hash+"\n", 9000))},
		})
	}
	return tree(oldHash), tree(newHash)
}

func faultConfig(t *testing.T, all *spillFiles) filter.Config {
	return filter.Config{Rules: compile(t, theRule), Signatures: filter.SignatureOptions{Verify: true, Jobs: 4}, Spill: spill.Options{Memory: 1000, Open: all.new}}
}

// goroutines waits for those that a finished run may still be ending, and
// tells how many there are.
func goroutines(want int) int {
	n := runtime.NumGoroutine()
	for i := 0; i < 100 && n > want; i++ {
		time.Sleep(time.Millisecond)
		n = runtime.NumGoroutine()
	}
	return n
}

// checkFault wants a run to have ended in cause, with nothing left behind and
// an output that is the beginning of the right one, but never all of it.
func checkFault(t *testing.T, at int, err, cause error, out, want []byte, all *spillFiles, before int) {
	t.Helper()
	if !errors.Is(err, cause) {
		t.Fatalf("fault at %d: got %v, want %v", at, err, cause)
	}
	if len(out) >= len(want) || !bytes.HasPrefix(want, out) {
		t.Fatalf("fault at %d: %d bytes of output, want less than %d and nothing else", at, len(out), len(want))
	}
	if all.open != 0 {
		t.Fatalf("fault at %d: %d spill files are open", at, all.open)
	}
	if n := goroutines(before); n > before {
		t.Fatalf("fault at %d: %d goroutines, %d before", at, n, before)
	}
}

// An input that fails at any place ends the run with its error.
func TestRunReadFault(t *testing.T) {
	in, want := faultTree(t)
	before := runtime.NumGoroutine()
	places := []int{len(in)} // after the last byte, too: there may be more
	for at := 0; at < len(in); at += 1 + at%7*4001 {
		places = append(places, at)
	}
	for _, at := range places {
		var all spillFiles
		var out bytes.Buffer
		c := faultConfig(t, &all)
		r := io.MultiReader(bytes.NewReader(in[:at]), iotest.ErrReader(errDisk))
		_, err := c.Run(nar.NewWriter(&out), nar.NewReader(r))
		checkFault(t, at, err, errDisk, out.Bytes(), want, &all, before)
	}
}

// brokenWriter takes room bytes and then fails, after a part of a write or,
// whole, before it.
type brokenWriter struct {
	bytes.Buffer
	room  int
	whole bool
}

func (w *brokenWriter) Write(p []byte) (int, error) {
	n := min(w.room-w.Len(), len(p))
	if n == len(p) {
		return w.Buffer.Write(p)
	}
	if w.whole {
		n = 0
	}
	w.Buffer.Write(p[:n])
	return n, errDisk
}

// So does an output that fails, be it at the very last byte.
func TestRunWriteFault(t *testing.T) {
	in, want := faultTree(t)
	before := runtime.NumGoroutine()
	for at := len(want) - 1; at >= 0; at -= 1 + (len(want)-at)%7*6007 {
		for _, whole := range []bool{false, true} {
			var all spillFiles
			out := &brokenWriter{room: at, whole: whole}
			c := faultConfig(t, &all)
			_, err := c.Run(nar.NewWriter(out), nar.NewReader(bytes.NewReader(in)))
			checkFault(t, at, err, errDisk, out.Bytes(), want, &all, before)
		}
	}
}

// And so does what holds images, at whichever call it fails.
func TestRunSpillFault(t *testing.T) {
	in, want := faultTree(t)
	before := runtime.NumGoroutine()
	for _, jobs := range []int{1, 4} {
		for at := 1; ; at++ {
			all := spillFiles{failAt: at}
			var out bytes.Buffer
			c := faultConfig(t, &all)
			c.Signatures.Jobs = jobs
			_, err := c.Run(nar.NewWriter(&out), nar.NewReader(bytes.NewReader(in)))
			if all.calls < at {
				if err != nil || !bytes.Equal(out.Bytes(), want) {
					t.Fatalf("without a fault: %v", err)
				}
				if at < 20 {
					t.Fatalf("a run makes only %d calls", at-1)
				}
				break
			}
			checkFault(t, at, err, errSpill, out.Bytes(), want, &all, before)
			if !strings.Contains(err.Error(), `"/`) && !strings.Contains(err.Error(), "nar: write: offset ") {
				t.Errorf("the error does not say where: %v", err)
			}
		}
	}
}

// An image that is too large to hold is an error that names it.
func TestRunWithoutSpillFile(t *testing.T) {
	in, want := faultTree(t)
	var out bytes.Buffer
	c := filter.Config{Rules: compile(t, theRule), Spill: spill.Options{Memory: 200_000}}
	_, err := c.Run(nar.NewWriter(&out), nar.NewReader(bytes.NewReader(in)))
	if err == nil || !strings.Contains(err.Error(), `"/big"`) || bytes.Equal(out.Bytes(), want) {
		t.Errorf("got %v, want an error about /big", err)
	}
}
