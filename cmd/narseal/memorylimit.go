package main

import (
	"os"

	"narseal/cmd/narseal/internal/report"
	"narseal/filter/spill"
)

// limitMemory tells Go's garbage collector how large the heap should be. It is nil unless main sets it: it would apply to all
// tests of a process.
var limitMemory func(bytes int64) int64

const (
	// heapMemory is what the heap takes besides --hold-memory and the budgets below, in bytes. The code and what the
	// system counts with it take about 20 MiB more.
	heapMemory = 40 << 20
	// cacheMemory is what decoder windows of a cache may take, see package binarycache.
	cacheMemory = 144 << 20
)

// limitMemory has garbage collected in time: by itself, Go lets the heap grow to twice of what is in use, and farther if
// other processes take the CPU. more is what the command takes besides. A GOMEMLIMIT of the user has precedence.
func (o *commonOptions) limitMemory(more int64) {
	if limitMemory != nil && os.Getenv("GOMEMLIMIT") == "" {
		limitMemory(o.heapLimit(more))
	}
}

// heapLimit is the size of the heap from which on garbage is collected whenever there is some.
func (o *commonOptions) heapLimit(more int64) int64 {
	limit := spill.Options{Memory: o.SpillMemory}.Limit()
	limit = min(limit, 1<<50) + heapMemory + more
	if o.Report != "" {
		limit += report.DefaultBudget
	}
	return limit
}
