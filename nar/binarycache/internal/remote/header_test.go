package remote

import (
	"bufio"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// A header may have so many lines, however they come; and the body, which may come with it, any number.
func TestHeaderLines(t *testing.T) {
	for header, ok := range map[string]bool{
		"HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("\n", 1000):                                true,
		"HTTP/1.1 200 OK\r\n" + strings.Repeat("a:\r\n", 254) + "\r\n":                        true,
		"HTTP/1.1 200 OK\n" + strings.Repeat("a:\n", 254) + "\n" + strings.Repeat("\n", 1000): true,
		"HTTP/1.1 200 OK\r\n" + strings.Repeat("a:\r\n", 256) + "\r\n":                        false,
		strings.Repeat("a:\n", 300):                                                           false,
		strings.Repeat("x", 100_000):                                                          true, // not read to its end here
		"HTTP/1.1 200 OK\r\nA: b\r\n\r":                                                       true, // cut off, as package net/http finds
		"HTTP/1.1 200 OK":                                                                     true,
		strings.Repeat(strings.Repeat("x", 5_000)+"\n", 10):                                   true,
		"": true,
	} {
		for name, wrap := range map[string]func(io.Reader) io.Reader{"whole": func(r io.Reader) io.Reader { return r }, "by bytes": iotest.OneByteReader, "halves": iotest.HalfReader} {
			r := bufio.NewReaderSize(wrap(strings.NewReader(header)), readBuffer)
			err := checkHeader(r)
			if (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "exceeded 256 lines") {
				t.Errorf("%.40q, %s: %v", header, name, err)
			}
			if got, err := io.ReadAll(r); err != nil || string(got) != header {
				t.Errorf("%.40q, %s: %d bytes are left, %v", header, name, len(got), err)
			}
		}
	}
}
