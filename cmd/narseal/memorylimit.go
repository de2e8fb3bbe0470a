package main

import (
	"os"

	"narseal/cmd/narseal/internal/report"
)

// limitMemory sets the memory limit of Go's garbage collector. It is nil unless main sets it, because it would apply to
// all tests of a process.
var limitMemory func(bytes int64) int64

// heapMemory is the size of the heap without --hold-memory and the budgets below, in bytes. The system counts about 25 MiB
// more for the program, such as its code.
const heapMemory = 40 << 20

// limitMemory makes Go collect garbage in time. By default, Go lets the heap grow to twice the memory in use, and
// further if other processes use the CPU. A GOMEMLIMIT in the environment has precedence.
func (o *commonOptions) limitMemory() {
	if limitMemory != nil && os.Getenv("GOMEMLIMIT") == "" {
		limitMemory(o.heapLimit())
	}
}

// heapLimit returns the size of the heap, in bytes, above which Go collects garbage as often as necessary.
func (o *commonOptions) heapLimit() int64 {
	limit := min(o.HoldMemory(), 1<<50) + heapMemory
	if o.Report != "" {
		limit += report.DefaultBudget
	}
	return limit
}
