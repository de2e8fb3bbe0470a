package pagehash

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"
)

// BenchmarkSum256 hashes pages on one core, by each kernel and by crypto/sha256: in 256 KiB, which stay in the
// second-level cache, and in 64 MiB.
func BenchmarkSum256(b *testing.B) {
	all := kernels
	defer func() { kernels = all }()
	for _, data := range [][]byte{random(256 << 10), random(64 << 20)} {
		for _, size := range []int{4 << 10, 16 << 10} {
			var pages [][]byte
			for page := range slices.Chunk(data, size) {
				pages = append(pages, page)
			}
			sums := make([][sha256.Size]byte, len(pages))
			for i := range len(all) + 1 {
				name := "library"
				kernels = nil
				if i < len(all) {
					kernels = all[i : i+1]
					name = fmt.Sprintf("%dlanes", all[i].lanes)
				}
				b.Run(fmt.Sprintf("%dKiB/in%dKiB/%s", size>>10, len(data)>>10, name), func(b *testing.B) {
					b.SetBytes(int64(len(data)))
					b.ReportAllocs()
					for b.Loop() {
						Sum256(sums, pages)
					}
				})
			}
		}
	}
}
