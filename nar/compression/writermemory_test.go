package compression

import (
	"io"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
)

// Writers use at most as much memory as Options.Memory says.
func TestWriterMemory(t *testing.T) {
	for _, test := range []struct {
		t    Type
		o    Options
		size int // MiB
	}{
		{Zstd, Options{Workers: 1}, 64}, {Zstd, Options{Workers: 2, Size: 64 << 20}, 64}, {Zstd, Options{Level: 19, Workers: 2}, 64},
		{Gzip, Options{Workers: 1}, 16},
		{Xz, Options{Level: 1, Workers: 1}, 4}, {Xz, Options{Level: 1, Workers: 2}, 8},
		{None, Options{}, 16},
	} {
		if testing.Short() && test.t == Xz {
			continue
		}
		data := make([]byte, 1<<20)
		random := rand.NewChaCha8([32]byte{})
		before := heap()
		w, err := Compress(io.Discard, test.t, test.o)
		if err != nil {
			t.Fatal(err)
		}
		done, peak := make(chan bool), make(chan int64)
		go func() {
			most := int64(0)
			for {
				select {
				case <-done:
					peak <- most
					return
				case <-time.After(5 * time.Millisecond):
					most = max(most, heap())
				}
			}
		}()
		for range test.size {
			random.Read(data[:len(data)/2])
			if _, err := w.Write(data); err != nil {
				t.Fatal(err)
			}
		}
		err = w.Close()
		close(done)
		used := <-peak - before
		if err != nil {
			t.Fatal(err)
		}
		want := test.o.Memory(test.t) + 1<<20
		if test.t == Xz {
			x := newXzWriter(nil, test.o)
			want += int64(test.o.Workers) * xzEncoderMemory(x.dict) // the last encoders may still be garbage
		}
		if used > want {
			t.Errorf("%s %+v: %d bytes of memory, want at most %d", test.t, test.o, used, want)
		}
	}
}

// heap is the memory of what is in use.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
