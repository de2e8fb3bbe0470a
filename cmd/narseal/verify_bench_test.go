package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"narseal/macho/machotest"
	"narseal/nar/nartest"
)

// benchImage returns a signed image of about size bytes.
func benchImage(size int) []byte {
	data, _ := machotest.Image{CodeSize: size, Directories: []machotest.Directory{{PageShift: 12}}}.Build()
	return data
}

// BenchmarkVerify compares verify with what this machine's processors hash at
// best: crypto/sha256 on 4 KiB pages in memory, one goroutine a processor.
func BenchmarkVerify(b *testing.B) {
	large := benchImage(512 << 20)
	small := benchImage(5 << 20)
	const images = 100
	dir := b.TempDir()
	tree := nartest.Dir{}
	for i := range images {
		name := fmt.Sprintf("image%03d", i)
		tree[name] = nartest.Exec(small)
		writeBench(b, filepath.Join(dir, "folder", name), small)
	}
	tiny := benchImage(300 << 10)
	const tinyImages = 1700
	for i := range tinyImages {
		writeBench(b, filepath.Join(dir, "small", fmt.Sprint(i%17), fmt.Sprintf("image%04d", i)), tiny)
	}
	writeBench(b, filepath.Join(dir, "large"), large)
	archive := nartest.Tree(tree)
	writeBench(b, filepath.Join(dir, "nar"), archive)

	b.Run("sha256", func(b *testing.B) {
		b.SetBytes(int64(len(large)))
		defer cpuSpeed(b, len(large))()
		for b.Loop() {
			hashPages(large)
		}
	})
	verify := func(name string, size int) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(size))
			defer cpuSpeed(b, size)()
			for b.Loop() {
				if status := run(context.Background(), []string{"narseal", "verify", filepath.Join(dir, name)}, nil, io.Discard, os.Stderr); status != 0 {
					b.Fatal("status ", status)
				}
			}
		})
	}
	verify("large", len(large))
	verify("folder", images*len(small))
	verify("small", tinyImages*len(tiny))
	verify("nar", len(archive))
	b.Run("pipe", func(b *testing.B) {
		b.SetBytes(int64(len(archive)))
		defer cpuSpeed(b, len(archive))()
		for b.Loop() {
			r, w, err := os.Pipe()
			if err != nil {
				b.Fatal(err)
			}
			go func() {
				_, _ = w.Write(archive)
				w.Close()
			}()
			if status := run(context.Background(), []string{"narseal", "verify"}, r, io.Discard, os.Stderr); status != 0 {
				b.Fatal("status ", status)
			}
			r.Close()
		}
	})
}

// cpuSpeed reports the bytes for each second of one processor's work, which
// tells more than the time where a machine has others to serve.
func cpuSpeed(b *testing.B, size int) func() {
	used := func() int64 {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	before := used()
	return func() {
		b.ReportMetric(float64(size)*float64(b.N)/1e6/(float64(used()-before)/1e9), "MB/cpu-s")
	}
}

func writeBench(b *testing.B, name string, data []byte) {
	b.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o777); err != nil {
		b.Fatal(err)
	}
}

func hashPages(data []byte) {
	const page = 4096
	n := runtime.NumCPU()
	part := (len(data)/page/n + 1) * page
	var wg sync.WaitGroup
	for from := 0; from < len(data); from += part {
		wg.Go(func() {
			for pos, end := from, min(from+part, len(data)); pos < end; pos += page {
				sha256.Sum256(data[pos:min(pos+page, end)])
			}
		})
	}
	wg.Wait()
}
