package main

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"narseal/nar/nartest"
)

// BenchmarkSweepShards sweeps a cache whose server takes 50 ms for each request in 1, 2, 4 and 8 shards at once:
//
//	NARSEAL_SWEEP_PATHS=8000 go test ./cmd/narseal -run '^$' -bench SweepShards -benchtime 1x
//
// linear is the speed against that of one shard times the number of shards, largest is the size of the largest shard
// against the mean, and cores is how many processors are busy, with those of the server. Beside the variables of TestSweep, NARSEAL_SWEEP_OPTIONS has options of narseal (--jobs 8).
func BenchmarkSweepShards(b *testing.B) {
	for _, tool := range []string{"bash", "seq"} {
		nartest.Tool(b, tool)
	}
	if os.Getenv("NARSEAL_SWEEP_OPTIONS") == "" {
		b.Setenv("NARSEAL_SWEEP_OPTIONS", "--jobs 8")
	}
	paths := sweepNumber(b, "PATHS", 400)
	c := newSweptCache(b, paths, min(paths, sweepNumber(b, "BROKEN", 20)), sweepNumber(b, "SIZE", 30_000))
	c.delay = sweepDelay(b, 50)
	key, _ := sweepKey(b)
	var one time.Duration
	for _, shards := range []int{1, 2, 4, 8} {
		b.Run(fmt.Sprint(shards), func(b *testing.B) {
			var took, cpu time.Duration
			largest := 0
			for b.Loop() {
				s := newSweep(b, c, key, shards)
				before := ownTime(b)
				took += s.run("", 0)
				cpu += time.Duration(s.cpu.Load()) + ownTime(b) - before
				largest = max(largest, s.largest())
				if _, statuses := s.ledgers(); statuses["changed"]+statuses["unchanged"] != paths {
					b.Errorf("the ledgers: %v, want %d paths", statuses, paths)
				}
			}
			mean := took / time.Duration(b.N)
			if shards == 1 {
				one = mean
			}
			b.ReportMetric(mean.Seconds(), "s")
			b.ReportMetric(float64(paths)/mean.Seconds(), "paths/s")
			b.ReportMetric(float64(largest*shards)/float64(paths), "largest")
			b.ReportMetric(cpu.Seconds()/took.Seconds(), "cores")
			if one > 0 {
				b.ReportMetric(one.Seconds()/mean.Seconds()/float64(shards), "linear")
			}
		})
	}
}

// largest is how many lines the longest ledger has.
func (s *sweep) largest() (n int) {
	s.t.Helper()
	for i := range s.shards {
		b, err := os.ReadFile(fmt.Sprintf("%s/ledger-%d.jsonl", s.state, i))
		if err != nil {
			s.t.Fatal(err)
		}
		n = max(n, bytes.Count(b, []byte("\n"))-1) // without the first
	}
	return n
}

// ownTime is the time that this process has used processors for.
func ownTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
