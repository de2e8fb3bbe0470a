// Package spill stores data temporarily: in memory up to a limit, and beyond that in a file that the caller provides.
//
// A Buffer is for one piece of data that grows, is then read and changed at any offset, and is finally drained. A Queue
// is for many pieces that are written once and read once. The package itself opens no files.
package spill

import (
	"errors"
	"fmt"
	"io"
)

// DefaultMemory is the limit in bytes if Options.Memory is 0.
const DefaultMemory = 256 << 20

// ErrFull is wrapped by the error for data that exceeds the Options.
var ErrFull = errors.New("more than may be kept")

// Options describe where data is stored.
type Options struct {
	// Memory is the maximum number of bytes in memory; 0 means DefaultMemory.
	Memory int64
	// Open returns an empty file for data beyond Memory. The package closes it. If Open is nil, more data is an error.
	Open func() (File, error)
	// Budget, if not nil, limits the memory of several runs together. Only Options from Share use it.
	Budget Budget

	share *share
}

// A File is a file for spilled data, usually an unnamed temporary file. It must be safe for concurrent use.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
}

// Limit returns the maximum number of bytes in memory.
func (o Options) Limit() int64 {
	if o.Memory > 0 {
		return o.Memory
	}
	return DefaultMemory
}

// open opens a spill file.
func (o Options) open() (File, error) {
	f, err := o.Open()
	if err != nil {
		return nil, fmt.Errorf("temporary file: %w", err)
	}
	return f, nil
}
