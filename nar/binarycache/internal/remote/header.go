package remote

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math"
)

// headerLimit limits the bytes that are read until the header of a response ends.
type headerLimit struct {
	r    io.Reader
	left int64
}

func (h *headerLimit) Read(p []byte) (int, error) {
	if h.left <= 0 {
		return 0, fmt.Errorf("server response headers exceeded %d bytes", maxHeader)
	}
	n, err := h.r.Read(p[:min(int64(len(p)), h.left)])
	h.left -= int64(n)
	return n, err
}

// allow lifts the limit for the body.
func (h *headerLimit) allow() { h.left = math.MaxInt64 }

// maxHeaderLines is the maximum number of lines in the header of a response. Even a short line takes a hundred bytes of
// memory.
const maxHeaderLines = 256

// checkHeader waits until a header is in the buffer of r, and returns an error if it has too many lines. Package
// net/http checks everything else.
func checkHeader(r *bufio.Reader) error {
	lines := 0
	for seen := 0; ; {
		_, err := r.Peek(seen + 1)
		b, _ := r.Peek(r.Buffered())
		for {
			at := bytes.IndexByte(b[seen:], '\n')
			if at < 0 {
				break
			}
			line := bytes.TrimSuffix(b[seen:seen+at], []byte("\r"))
			if lines++; lines > maxHeaderLines {
				return errHeaderLines
			}
			if len(line) == 0 {
				return nil
			}
			seen += at + 1
		}
		if err == io.EOF || err == bufio.ErrBufferFull {
			return nil
		}
		if err != nil {
			return err
		}
		if len(b) > seen { // the start of a line
			if _, err := r.Peek(len(b) + 1); err == io.EOF || err == bufio.ErrBufferFull {
				return nil
			} else if err != nil {
				return err
			}
		}
	}
}
