package pagehash

import (
	"crypto/sha256"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"narseal/nar/nartest"
)

// withKernels runs a test with each kernel of this processor alone, for any number of pages, then with all of them as the
// program uses them, and without any.
func withKernels(t *testing.T, test func(t *testing.T)) {
	all := kernels
	defer func() { kernels = all }()
	for _, k := range all {
		k.least = 1
		kernels = []kernel{k}
		t.Run(fmt.Sprint(k.lanes), test)
	}
	kernels = all
	t.Run("all", test)
	kernels = nil
	t.Run("none", test)
}

// check compares the sums of pages with those of crypto/sha256. Canaries guard the sums that are not asked for.
func check(t testing.TB, pages [][]byte) {
	t.Helper()
	canary := sha256.Sum256([]byte("canary"))
	all := make([][sha256.Size]byte, len(pages)+2)
	for i := range all {
		all[i] = canary
	}
	Sum256(all[1:len(pages)+1], pages)
	if all[0] != canary || all[len(pages)+1] != canary {
		t.Fatalf("%d pages: wrote beside the sums", len(pages))
	}
	for i, page := range pages {
		if got, want := all[i+1], sha256.Sum256(page); got != want {
			t.Fatalf("page %d of %d, %d bytes: got %x, want %x", i, len(pages), len(page), got, want)
		}
	}
}

func random(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data)
	return data
}

// Every length in every lane: lanes take the next page when they are done, so mixed lengths wander through them.
func TestEveryLength(t *testing.T) {
	data := random(20_000 + maxLanes)
	step := 1
	if testing.Short() {
		step = 13
	}
	withKernels(t, func(t *testing.T) {
		var rising, mixed [][]byte
		for n := 0; n <= 20_000; n += step {
			rising = append(rising, data[n%maxLanes:][:n])
		}
		check(t, rising)
		for _, n := range rand.New(rand.NewPCG(1, 2)).Perm(len(rising)) {
			mixed = append(mixed, rising[n])
		}
		check(t, mixed)
	})
}

// Equal lengths, as pages have: around a block, around what the padding needs, and those of real pages.
func TestCountsLengthsAlignments(t *testing.T) {
	data := random(3*maxLanes*(16<<10) + 64)
	lengths := []int{0, 1, 54, 55, 56, 57, 63, 64, 65, 118, 119, 120, 127, 128, 129, 191, 192, 4095, 4096, 4097, 16 << 10}
	withKernels(t, func(t *testing.T) {
		for count := range 3*maxLanes + 1 {
			for _, n := range lengths {
				var pages [][]byte
				for i := range count {
					pages = append(pages, data[count+i*n:][:n])
				}
				check(t, pages)
				if len(pages) > 0 { // the last page of an image is shorter
					pages[count-1] = pages[count-1][:n*2/3]
					check(t, pages)
				}
			}
		}
		for align := range 64 {
			var pages [][]byte
			for i := range maxLanes + 1 {
				pages = append(pages, data[align+i*4096:][:4096])
			}
			check(t, pages)
		}
	})
}

// A page past the bound of one call of a kernel, and pages that share bytes.
func TestLargePages(t *testing.T) {
	data := random(maxBlocks*blockSize*2 + 200)
	withKernels(t, func(t *testing.T) {
		for _, n := range []int{maxBlocks * blockSize, maxBlocks*blockSize + 1, len(data)} {
			check(t, [][]byte{data[:n]})
			check(t, [][]byte{data[:n], data[:n/2], data[1:n], data[:0], data[n/2 : n]})
		}
	})
}

func TestLimitLanes(t *testing.T) {
	all := len(kernels)
	undo := LimitLanes(1)
	if len(kernels) != 0 {
		t.Errorf("LimitLanes(1) leaves %d kernels", len(kernels))
	}
	undo()
	if len(kernels) != all {
		t.Errorf("%d kernels after undo, want %d", len(kernels), all)
	}
}

func TestAllocs(t *testing.T) {
	data := random(100 * 4096)
	var pages [][]byte
	for page := range slices.Chunk(data, 4096) {
		pages = append(pages, page)
	}
	sums := make([][sha256.Size]byte, len(pages))
	withKernels(t, func(t *testing.T) {
		if n := testing.AllocsPerRun(10, func() { Sum256(sums, pages) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

// The runtime interrupts goroutines, grows and moves their stacks and collects garbage while they hash.
func TestUnderPreemption(t *testing.T) {
	withKernels(t, func(t *testing.T) {
		end := time.Now().Add(200 * time.Millisecond)
		var hashers, disturber sync.WaitGroup
		for range 4 {
			hashers.Go(func() {
				for time.Now().Before(end) {
					data := random(20*4096 + 100) // garbage for the collector
					var pages [][]byte
					for page := range slices.Chunk(data, 4096) {
						pages = append(pages, page)
					}
					wait := make(chan struct{})
					go func() { // a small stack
						defer close(wait)
						check(t, pages)
					}()
					<-wait
				}
			})
		}
		done := make(chan struct{})
		disturber.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					runtime.GC()
				}
			}
		})
		hashers.Wait()
		close(done)
		disturber.Wait()
	})
}

func FuzzSum256(f *testing.F) {
	f.Add([]byte("page"), uint16(4096), uint16(300), uint64(1), byte(0))
	f.Add([]byte{}, uint16(0), uint16(17), uint64(0), byte(3))
	f.Add(random(200), uint16(119), uint16(16), uint64(7), byte(1))
	f.Fuzz(func(t *testing.T, text []byte, size, count uint16, seed uint64, which byte) {
		all := kernels
		defer func() { kernels = all }()
		if i := int(which) % (len(all) + 1); i < len(all) {
			k := all[i]
			k.least = 1
			kernels = []kernel{k}
		}
		r := rand.New(rand.NewPCG(seed, 0))
		data := append(random(int(size)+512), text...)
		var pages [][]byte
		for range count % 64 {
			from := r.IntN(512)
			n := int(size)
			if seed%3 == 0 {
				n = r.IntN(len(data) - from)
			}
			pages = append(pages, data[from:min(from+n, len(data))])
		}
		pages = append(pages, text)
		check(t, pages)
	})
}

// Elsewhere, qemu-user runs the assembly for arm64: all tests but the one of a loaded runtime, which it is too slow for.
func TestArm64(t *testing.T) {
	if runtime.GOARCH == "arm64" || runtime.GOOS != "linux" {
		t.Skip("for Linux on other processors than arm64")
	}
	if testing.Short() {
		t.Skip("slow")
	}
	qemu := nartest.Tool(t, "qemu-aarch64-static", "qemu-aarch64")
	binary := filepath.Join(t.TempDir(), "pagehash.test")
	build := exec.Command("go", "test", "-c", "-o", binary)
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	run := exec.Command(qemu, "-cpu", "cortex-a72", binary, "-test.v", "-test.short", "-test.skip", "Preemption")
	out, err := run.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "--- PASS: TestEveryLength/4 ") {
		t.Errorf("the kernel was not used:\n%s", out)
	}
}

// FIPS 180-4: the first 32 bits of the fractional parts of the square roots of the first 8 primes, and of the cube roots of
// the first 64.
func TestConstants(t *testing.T) {
	fraction := func(x float64) uint32 { return uint32((x - math.Floor(x)) * (1 << 32)) }
	n := 0
	for p := int64(2); n < len(constants); p++ {
		if !big.NewInt(p).ProbablyPrime(0) {
			continue
		}
		if want := fraction(math.Sqrt(float64(p))); n < len(initial) && initial[n] != want {
			t.Errorf("H%d: %#x, want %#x", n, initial[n], want)
		}
		if want := fraction(math.Cbrt(float64(p))); constants[n] != want {
			t.Errorf("K%d: %#x, want %#x", n, constants[n], want)
		}
		n++
	}
}
