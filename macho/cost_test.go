package macho_test

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"narseal/macho"
	"narseal/macho/machotest"
)

// counting counts what is read and written of an image.
type counting struct {
	opaque
	calls, bytes atomic.Int64
}

func (c *counting) ReadAt(p []byte, off int64) (int, error) {
	c.calls.Add(1)
	c.bytes.Add(int64(len(p)))
	return c.opaque.ReadAt(p, off)
}

func (c *counting) WriteAt(p []byte, off int64) (int, error) {
	c.calls.Add(1)
	return c.opaque.WriteAt(p, off)
}

// cost is what a call takes.
type cost struct {
	allocated, calls, read int64
	time                   time.Duration
}

// costs has what can be done with an image.
var costs = []struct {
	name string
	do   func(image macho.Image) error
}{
	{"Verify", func(image macho.Image) error { _, err := macho.Config{Jobs: 1}.Verify(image); return err }},
	{"Repair", func(image macho.Image) error {
		_, err := macho.Config{Jobs: 1, OnCMS: macho.CMSAdhoc}.Repair(image)
		return err
	}},
	{"RepairTouched", func(image macho.Image) error {
		var touched []macho.Range
		for off := int64(0); off < image.Size(); off += 1 + image.Size()/10_000 {
			touched = append(touched, macho.Range{Off: off, Len: 1})
		}
		_, err := macho.Config{Jobs: 1}.RepairTouched(image, touched)
		return err
	}},
	{"Locate", func(image macho.Image) error {
		report := &macho.Report{Slices: make([]macho.Slice, 1000)}
		return report.Locate(image)
	}},
	{"DerivedRanges", func(image macho.Image) error { _, err := macho.DerivedRanges(image); return err }},
	{"Probe", func(image macho.Image) error {
		whole := image.(*counting).Bytes
		for n := int64(8); n > 0; {
			_, n = macho.Probe(whole[:n], image.Size())
		}
		return nil
	}},
}

func measure(t testing.TB, data []byte, do func(macho.Image) error) cost {
	t.Helper()
	image := &counting{opaque: opaque{bytes.Clone(data)}}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	if err := do(image); err != nil {
		t.Fatal(err)
	}
	elapsed := time.Since(start)
	runtime.ReadMemStats(&after)
	return cost{int64(after.TotalAlloc - before.TotalAlloc), image.calls.Load(), image.bytes.Load(), elapsed}
}

// TestHostileCost checks images that repeat what a reader parses. What a call allocates and reads is in proportion to the
// size of the image, whatever it repeats.
func TestHostileCost(t *testing.T) {
	for _, size := range []int{60_000, 1_600_000} {
		for _, c := range append(machotest.Hostile(size), machotest.Harmless(size)) {
			n := int64(len(c.Data))
			if n < int64(size)/2 || n > 2*int64(size)+100_000 {
				t.Errorf("%s has %d bytes, want about %d", c.Name, n, size)
			}
			for _, op := range costs {
				got := measure(t, c.Data, op.do)
				// The second terms are for buffers and for 10,000 touched ranges, both of which are a constant.
				if limit := 4*n + 4<<20; got.allocated > limit {
					t.Errorf("%s of %s: %d bytes allocated for %d, want at most %d", op.name, c.Name, got.allocated, n, limit)
				}
				if limit := 6*n + 1<<20; got.read > limit {
					t.Errorf("%s of %s: %d bytes read of %d, want at most %d", op.name, c.Name, got.read, n, limit)
				}
				if limit := n/4 + 1<<14; got.calls > limit {
					t.Errorf("%s of %s: %d reads and writes of %d bytes, want at most %d", op.name, c.Name, got.calls, n, limit)
				}
			}
		}
	}
}

// TestRepeatedDirectory checks that an index is judged before what it names is parsed, and that a CodeDirectory is in the
// report once.
func TestRepeatedDirectory(t *testing.T) {
	for _, c := range machotest.Hostile(60_000)[:4] {
		s := mustVerify(t, macho.Bytes(c.Data)).Slices[0]
		if s.Status != macho.StatusMalformed || !strings.Contains(s.Reason, "overlaps the one before it") {
			t.Errorf("%s: %s: %s", c.Name, s.Status, s.Reason)
		}
		if n := len(s.CodeDirectories); n != 1 && n != 7 || s.Signature != "adhoc" {
			t.Errorf("%s: %d CodeDirectories, signature %s", c.Name, n, s.Signature)
		}
	}
}

// TestHostileProbe checks how much of such an image all calls of Probe parse together.
func TestHostileProbe(t *testing.T) {
	for _, c := range machotest.Hostile(1_600_000) {
		size, parsed := int64(len(c.Data)), int64(0)
		for n := int64(8); n > 0; {
			parsed += n
			_, n = macho.Probe(c.Data[:n], size)
		}
		if parsed > 8*size {
			t.Errorf("%s: Probe parses %d bytes of %d in all", c.Name, parsed, size)
		}
	}
}

// TestHostileTable prints what each call costs.
func TestHostileTable(t *testing.T) {
	if os.Getenv("NARSEAL_COST_TABLE") == "" {
		t.Skip("set NARSEAL_COST_TABLE to print a table")
	}
	size := 1_600_000
	for _, c := range append([]machotest.Case{machotest.Harmless(size)}, machotest.Hostile(size)...) {
		n := float64(len(c.Data))
		for _, op := range costs {
			got := measure(t, c.Data, op.do)
			fmt.Printf("%-42s %8d bytes, %-13s %7.1f × allocated, %6.1f × read, %6d calls, %8.1f ms\n", c.Name, len(c.Data), op.name,
				float64(got.allocated)/n, float64(got.read)/n, got.calls, float64(got.time.Microseconds())/1000)
		}
	}
}
