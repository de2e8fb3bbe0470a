package main

import (
	"crypto/sha256"
	"encoding/base64"
	"io"
)

// digest is a NarHash in the making: SHA-256 and size of a stream, computed
// on another processor than the one that the stream passes through.
type digest struct {
	size int64
	full chan []byte
	free chan []byte
	done chan [sha256.Size]byte
}

const digestBuffers = 8

func newDigest() *digest {
	d := &digest{
		full: make(chan []byte, digestBuffers),
		free: make(chan []byte, digestBuffers),
		done: make(chan [sha256.Size]byte, 1),
	}
	for range digestBuffers {
		d.free <- nil
	}
	go func() {
		h := sha256.New()
		for b := range d.full {
			h.Write(b)
			d.free <- b
		}
		d.done <- [sha256.Size]byte(h.Sum(nil))
	}()
	return d
}

// Write adds p, and never fails.
func (d *digest) Write(p []byte) (int, error) {
	d.size += int64(len(p))
	d.full <- append((<-d.free)[:0], p...)
	return len(p), nil
}

// sri ends the digest and returns it as a subresource integrity string.
func (d *digest) sri() string {
	close(d.full)
	sum := <-d.done
	return sriOf(sum)
}

// sriOf returns a SHA-256 as a subresource integrity string.
func sriOf(sum [sha256.Size]byte) string {
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// digestReader adds all that is read to a digest.
type digestReader struct {
	r io.Reader
	d *digest
}

func (r digestReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if n > 0 {
		r.d.Write(p[:n])
	}
	return n, err
}

// digestWriter adds all that is written to a digest.
type digestWriter struct {
	w io.Writer
	d *digest
}

func (w digestWriter) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	if n > 0 {
		w.d.Write(p[:n])
	}
	return n, err
}
