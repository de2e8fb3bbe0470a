package refs

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	kzstd "github.com/klauspost/compress/zstd"

	"narseal/filter/rules"
	"narseal/filter/rules/rulestest"
	"narseal/filter/spill"
	"narseal/nar"
	"narseal/nar/compression"
	"narseal/nar/storepath"
)

func isLimit(err error) bool { return errors.Is(err, ErrLimit) }

// attacks are small files that took gigabytes.
var attacks = map[string]func(t *testing.T) string{
	"nested zips with long names": func(t *testing.T) string {
		data := "x"
		for level := range 8 {
			var b bytes.Buffer
			w := zip.NewWriter(&b)
			for i := range 250 {
				method := uint16(zip.Deflate)
				m, err := w.CreateHeader(&zip.FileHeader{Name: fmt.Sprint(level, i, strings.Repeat("n", 65_000)), Method: method})
				if err != nil {
					t.Fatal(err)
				}
				if i == 249 {
					m.Write([]byte(data))
				}
			}
			w.Close()
			data = b.String()
		}
		return gzipped(data)
	},
	"nested zips of many members": func(t *testing.T) string {
		data := "x"
		for range 8 {
			var b bytes.Buffer
			w := zip.NewWriter(&b)
			for range 100_000 {
				w.CreateHeader(&zip.FileHeader{Name: "n"})
			}
			m, _ := w.CreateHeader(&zip.FileHeader{Name: "z", Method: zip.Deflate})
			m.Write([]byte(data))
			w.Close()
			data = b.String()
		}
		return gzipped(data)
	},
	"nested zips that are kept": func(t *testing.T) string {
		data := "x"
		for range 8 {
			var b bytes.Buffer
			w := zip.NewWriter(&b)
			m, _ := w.CreateHeader(&zip.FileHeader{Name: "inner", Method: zip.Deflate})
			m.Write([]byte(data))
			m, _ = w.CreateHeader(&zip.FileHeader{Name: "zeros", Method: zip.Store})
			m.Write(make([]byte, 40<<20))
			w.Close()
			data = b.String()
		}
		return gzipped(data)
	},
	"nested zstd windows": func(t *testing.T) string {
		data := "x"
		noise := rand.NewChaCha8([32]byte{1})
		for range 9 {
			var b bytes.Buffer
			w, err := kzstd.NewWriter(&b, kzstd.WithWindowSize(128<<20), kzstd.WithSingleSegment(false), kzstd.WithEncoderConcurrency(1))
			if err != nil {
				t.Fatal(err)
			}
			w.Write([]byte(data))
			w.Close()
			// What a decoder skips fills the window of the one around it. Noise keeps the ratio low.
			skipped := make([]byte, 130<<20)
			noise.Read(skipped[:150<<10])
			frame := binary.LittleEndian.AppendUint32([]byte("\x50\x2a\x4d\x18"), uint32(len(skipped)))
			data = string(frame) + string(skipped) + b.String()
		}
		return data[8+130<<20:]
	},
	"nested xz dictionaries": func(t *testing.T) string {
		data := "x"
		for range 8 {
			data = compressed(t, compression.Xz, data)
		}
		return data
	},
	"nested tars with records": func(t *testing.T) string {
		var records strings.Builder
		for i := range 95_000 {
			fmt.Fprintf(&records, "11 %06d=\n", i)
		}
		data := "x"
		for range 8 {
			data = gzipped(paxed(records.String(), data))
		}
		return data
	},
}

// paxed makes a tar archive whose member has these PAX records.
func paxed(records, data string) string {
	member := tarred(file{"x", data})
	header := []byte(tarred(file{"PaxHeaders.0/x", records})[:512])
	header[156] = 'x'
	copy(header[148:], "        ")
	sum := 0
	for _, c := range header {
		sum += int(c)
	}
	copy(header[148:], fmt.Sprintf("%06o\x00 ", sum))
	padded := records + strings.Repeat("\x00", -len(records)&511)
	return string(header) + padded + member
}

// The memory that unpacking takes is bounded by one budget, whatever is packed in what. It is measured from outside.
func TestUnpackMemory(t *testing.T) {
	if path, hold, ok := strings.Cut(os.Getenv("REFS_ATTACK"), ":"); ok {
		n, _ := strconv.ParseInt(hold, 10, 64)
		runAttack(t, path, n)
		return
	}
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip(err)
	}
	for name, attack := range attacks {
		path := t.TempDir() + "/attack"
		data := attack(t)
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, hold := range []int64{1 << 20, 64 << 20, 256 << 20} {
			cmd := exec.Command(os.Args[0], "-test.run=^TestUnpackMemory$", "-test.v")
			cmd.Env = append(os.Environ(), fmt.Sprintf("REFS_ATTACK=%s:%d", path, hold))
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v\n%s", name, err, out)
				continue
			}
			peak := peakOf(t, out)
			t.Logf("%s: %d KB take %d MiB with %d, %v", name, len(data)>>10, peak>>20, hold>>20, cmd.ProcessState.UserTime())
			if limit := hold + 64<<20; peak > limit && rulestest.ExhaustiveStep == 1 {
				t.Errorf("%s: %d bytes take %d MiB of memory, want at most %d", name, len(data), peak>>20, limit>>20)
			}
		}
	}
}

// peakOf returns the peak that runAttack printed, in bytes.
func peakOf(t *testing.T, out []byte) (peak int64) {
	t.Helper()
	_, line, _ := strings.Cut(string(out), "VmHWM:")
	if _, err := fmt.Sscan(line, &peak); err != nil {
		t.Fatalf("no VmHWM in %s", out)
	}
	return peak << 10
}

// runAttack is the other process.
func runAttack(t *testing.T, path string, hold int64) {
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	dir := t.TempDir()
	s := Scanner{StoreDir: storepath.DefaultDir, Encodings: rules.AllEncodings, Found: func(*Reference) error { return nil }}
	s.Unpack = &Unpack{
		Warn:  func(path string, err error) { t.Logf("%.100s: %.200v", path, err) },
		Spill: spill.Options{Memory: hold, Open: func() (spill.File, error) { return os.CreateTemp(dir, "") }},
	}
	if err := s.File(nar.NewPath("attack"), in); err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile("/proc/self/status") // what the kernel counted
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", status)
}
