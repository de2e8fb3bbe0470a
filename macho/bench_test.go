package macho_test

import (
	"crypto/sha256"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"narseal/macho"
	"narseal/macho/machotest"
)

const benchSize = 256 << 20

var benchImage = sync.OnceValue(func() []byte {
	data, _ := machotest.Image{CodeSize: benchSize, Directories: []machotest.Directory{{PageShift: 12}}}.Build()
	return data
})

// BenchmarkSHA256 hashes pages of 4 KiB on every CPU, to compare Verify with.
func BenchmarkSHA256(b *testing.B) {
	data := benchImage()[:benchSize]
	b.SetBytes(benchSize)
	b.ReportAllocs()
	for b.Loop() {
		jobs := runtime.GOMAXPROCS(0)
		share := benchSize / jobs &^ 4095
		var wg sync.WaitGroup
		for n := range jobs {
			wg.Go(func() {
				part := data[n*share : (n+1)*share]
				for pos := 0; pos < len(part); pos += 4096 {
					sha256.Sum256(part[pos : pos+4096])
				}
			})
		}
		wg.Wait()
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, view := range []string{"memory", "file"} {
		b.Run(view, func(b *testing.B) {
			image := views[view](benchImage())
			b.SetBytes(benchSize)
			b.ReportAllocs()
			for b.Loop() {
				if report, err := macho.Verify(image); err != nil || !report.OK() {
					b.Fatalf("%+v, %v", report, err)
				}
			}
		})
	}
}

// BenchmarkVerifySmall verifies an image of the size of most binaries.
func BenchmarkVerifySmall(b *testing.B) {
	data := readGolden(b, "A", "lld-arm64")
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := macho.Verify(macho.Bytes(data)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRepairTouched repairs a few pages of a large image: the cost must depend on the touched ranges, not on the
// image.
func BenchmarkRepairTouched(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			data := benchImage()
			touched := []macho.Range{}
			for i := range n {
				touched = append(touched, macho.Range{Off: 100_000 + int64(i)*(benchSize/2/int64(n)), Len: 32})
			}
			b.ReportAllocs()
			for b.Loop() {
				for _, r := range touched {
					data[r.Off] ^= 1
				}
				if report, err := macho.RepairTouched(macho.Bytes(data), touched); err != nil || !report.OK() {
					b.Fatalf("%+v, %v", report, err)
				}
			}
			b.StopTimer()
			if _, err := macho.Repair(macho.Bytes(data)); err != nil {
				b.Fatal(err)
			}
		})
	}
}
