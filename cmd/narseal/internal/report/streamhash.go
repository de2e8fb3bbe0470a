package report

import (
	"crypto/sha256"
	"encoding/base64"
	"io"
)

// StreamHash computes the SHA-256 and the size of a stream. It hashes on a goroutine of its own.
type StreamHash struct {
	size int64
	full chan []byte
	free chan []byte
	done chan [sha256.Size]byte
}

const hashBuffers = 8

// NewStreamHash returns a StreamHash. Its goroutine runs until SRI is called.
func NewStreamHash() *StreamHash {
	h := &StreamHash{
		full: make(chan []byte, hashBuffers),
		free: make(chan []byte, hashBuffers),
		done: make(chan [sha256.Size]byte, 1),
	}
	for range hashBuffers {
		h.free <- nil
	}
	go func() {
		sum := sha256.New()
		for b := range h.full {
			sum.Write(b)
			h.free <- b
		}
		h.done <- [sha256.Size]byte(sum.Sum(nil))
	}()
	return h
}

// Write adds p to the stream. It never fails.
func (h *StreamHash) Write(p []byte) (int, error) {
	h.size += int64(len(p))
	h.full <- append((<-h.free)[:0], p...)
	return len(p), nil
}

// Size returns the number of bytes written.
func (h *StreamHash) Size() int64 { return h.size }

// SRI ends the stream and returns its hash as a subresource integrity string.
func (h *StreamHash) SRI() string {
	close(h.full)
	return SRI(<-h.done)
}

// SRI returns a SHA-256 as a subresource integrity string.
func SRI(sum [sha256.Size]byte) string {
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// Reader returns a reader of r that adds everything that is read to h.
func (h *StreamHash) Reader(r io.Reader) io.Reader { return io.TeeReader(r, h) }

// Writer returns a writer to w that adds everything that is written to h.
func (h *StreamHash) Writer(w io.Writer) io.Writer { return io.MultiWriter(w, h) }
