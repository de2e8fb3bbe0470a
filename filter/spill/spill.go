// Package spill stores data that has to wait: in memory up to a limit, and beyond that in a file from the caller.
//
// A Buffer is for one piece of data that grows, is then read and changed at random, and finally drained. A Queue is for
// many pieces that are written once and read once. The package opens no files itself.
package spill

import (
	"errors"
	"fmt"
	"io"
)

// DefaultMemory is the limit in bytes if Options.Memory is 0.
const DefaultMemory = 256 << 20

// ErrFull is wrapped by the error for what is more than the Options allow.
var ErrFull = errors.New("more than may be kept")

// Options say where data is kept.
type Options struct {
	// Memory is the number of bytes that may be kept in memory; 0 stands for DefaultMemory.
	Memory int64
	// Open returns an empty file for data past Memory. The package closes it. If Open is nil, more data is an error.
	Open func() (File, error)
}

// A File is what data is spilled to, usually an unnamed temporary file. Several goroutines use it concurrently.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
}

// Limit returns the number of bytes that may be kept in memory.
func (o Options) Limit() int64 {
	if o.Memory > 0 {
		return o.Memory
	}
	return DefaultMemory
}

// open opens a spill file. Its error is a wrapped one.
func (o Options) open() (File, error) {
	f, err := o.Open()
	if err != nil {
		return nil, fmt.Errorf("temporary file: %w", err)
	}
	return f, nil
}
