package rules

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"narseal/nar/storepath"
)

const benchWindow = 256 << 10

// mixedTree returns n bytes of pieces of the Go toolchain's files: half
// programs, half sources.
func mixedTree(b *testing.B, n int) []byte {
	const piece = 16 << 10
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		b.Skipf("the Go toolchain is needed: %v", err)
	}
	goroot := strings.TrimSpace(string(root))
	programs := pieces(b, filepath.Join(goroot, "bin"), piece, n/2, 7)
	sources := pieces(b, filepath.Join(goroot, "src"), piece, n/2, 97)
	var out []byte
	for len(programs) > 0 && len(sources) > 0 {
		k := min(piece, len(programs), len(sources))
		out = append(append(out, programs[:k]...), sources[:k]...)
		programs, sources = programs[k:], sources[k:]
	}
	return out
}

// pieces reads every stride-th piece of the files below dir.
func pieces(b *testing.B, dir string, piece, n, stride int) (out []byte) {
	at := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for ; len(data) > 0 && len(out) < n; data = data[min(piece, len(data)):] {
			if at++; at%stride == 0 {
				out = append(out, data[:min(piece, len(data), n-len(out))]...)
			}
		}
		return nil
	})
	if err != nil {
		b.Skipf("the Go toolchain's files are needed: %v", err)
	}
	if len(out) < n {
		b.Skipf("%s holds %d bytes of what is needed, want %d", dir, len(out), n)
	}
	return out
}

func randomText(alphabet string, n int) []byte {
	rng := rand.New(rand.NewPCG(3, 4))
	out := make([]byte, n)
	for i := range out {
		out[i] = alphabet[rng.IntN(len(alphabet))]
	}
	return out
}

var benchInputs = []struct {
	name string
	make func(b *testing.B) []byte
}{
	{"mixed", func(b *testing.B) []byte { return mixedTree(b, 1<<20) }},
	{"hex", func(*testing.B) []byte { return randomText("0123456789abcdf", 1<<20) }},
	{"base32", func(*testing.B) []byte { return randomText(storepath.HashAlphabet, 1<<20) }},
	{"as", func(*testing.B) []byte { return bytes.Repeat([]byte("a"), 1<<20) }},
	{"utf16", func(b *testing.B) []byte { return utf16Bytes(string(mixedTree(b, 1<<20)), binary.LittleEndian) }},
	{"zeros", func(*testing.B) []byte { return make([]byte, 1<<20) }},
}

var benchCounts = []int{1, 10, 100, 1000, 100_000}

func benchRules(n int) []Rule { return randomRules(rand.New(rand.NewPCG(5, 6)), n) }

func benchReplace(b *testing.B, rules []Rule, data []byte) {
	r := compile(b, rules, AllEncodings)
	benchScan(b, data, func(window []byte, final bool) int {
		return r.Replace(window, final, func(int, int, int) {})
	})
}

// benchScan presents data in windows, as the pipeline does.
func benchScan(b *testing.B, data []byte, scan func(window []byte, final bool) (settled int)) {
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		for at := 0; at < len(data); {
			end := min(len(data), at+benchWindow)
			at += scan(data[at:end], end == len(data))
		}
	}
}

func BenchmarkReplace(b *testing.B) {
	for _, in := range benchInputs {
		b.Run("input="+in.name, func(b *testing.B) {
			data := in.make(b)
			for _, n := range benchCounts {
				b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
					benchReplace(b, benchRules(n), data)
				})
			}
		})
	}
}

// Rules and data made to meet: matches side by side, and near misses at every
// byte from rules that share their affixes.
func BenchmarkReplaceDense(b *testing.B) {
	a31 := strings.Repeat("a", 31)
	affixes := make([]Rule, 0, 1024)
	for i := range 32 {
		for j := range 32 {
			if from := as[:15] + storepath.HashAlphabet[i:i+1] + storepath.HashAlphabet[j:j+1] + as[:15]; from != as {
				affixes = append(affixes, Rule{from, bs})
			}
		}
	}
	names := make([]Rule, 100_000)
	for i := range names {
		names[i] = Rule{
			From: fmt.Sprintf("%s-%sx%06d", as, strings.Repeat("n", i%200), i),
			To:   fmt.Sprintf("%s-%sy%06d", as, strings.Repeat("n", i%200), i),
		}
	}
	shared := make([]Rule, 100_000)
	for i := range shared {
		shared[i] = Rule{fmt.Sprintf("%s%05d%s", as[:13], i, as[:14]), bs}
	}
	allA := bytes.Repeat([]byte("a"), 1<<20)
	for _, bench := range []struct {
		name  string
		rules []Rule
		data  []byte
	}{
		{"match", []Rule{{as, as}}, allA},
		{"match+100000", append(benchRules(100_000), Rule{as, as}), allA},
		{"match-utf16", []Rule{{as, as}}, utf16Bytes(string(allA[:1<<19]), binary.LittleEndian)},
		{"match-utf32", []Rule{{as, as}}, utf32Bytes(string(allA[:1<<18]), binary.LittleEndian)},
		{"miss", []Rule{{a31 + "b", bs}}, allA},
		{"miss-utf16", []Rule{{a31 + "b", bs}}, utf16Bytes(string(allA[:1<<19]), binary.LittleEndian)},
		{"miss-utf32", []Rule{{a31 + "b", bs}}, utf32Bytes(string(allA[:1<<18]), binary.LittleEndian)},
		{"affixes=1023", affixes, allA},
		{"infix=100000", shared, allA},
		{"names=100000", names, bytes.Repeat([]byte(as+"-"+strings.Repeat("n", 199)+"/"), 1<<20/256)},
	} {
		b.Run(bench.name, func(b *testing.B) { benchReplace(b, bench.rules, bench.data) })
	}
}

// Small contents, where what counts is the call.
func BenchmarkReplaceSmall(b *testing.B) {
	data := mixedTree(b, 1<<20)
	for _, size := range []int{16, 64, 256, 1024, 4096} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			r := compile(b, benchRules(10), AllEncodings)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			at := 0
			for b.Loop() {
				if at += size; at+size > len(data) {
					at = 0
				}
				r.Replace(data[at:at+size], true, func(int, int, int) {})
			}
		})
	}
}

func BenchmarkScanStorePaths(b *testing.B) {
	for _, in := range benchInputs {
		b.Run("input="+in.name, func(b *testing.B) {
			data := in.make(b)
			benchScan(b, data, func(window []byte, final bool) int {
				return ScanStorePaths(window, final, "/nix/store", AllEncodings, func(int, []byte, Encodings) {})
			})
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	for _, n := range benchCounts {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			var file strings.Builder
			for _, rule := range benchRules(n) {
				fmt.Fprintf(&file, "/nix/store/%s-name=/nix/store/%s-name\n", rule.From, rule.To)
			}
			b.ReportAllocs()
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			var r *Set
			for b.Loop() {
				rules, err := ParseFile(strings.NewReader(file.String()), "rules")
				if err != nil {
					b.Fatal(err)
				}
				r = compile(b, rules, AllEncodings)
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB-live")
			runtime.KeepAlive(r)
		})
	}
}
