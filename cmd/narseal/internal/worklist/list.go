package worklist

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"slices"
	"strings"

	"narseal/nar/compression"
	"narseal/nar/storepath"
)

// Limits of a list. maxText is the maximum size of a list in bytes, after decompression, since a server may send empty
// lines or one path without end. The paths of all of nixpkgs take a few hundred megabytes. Tests lower it.
var maxText int64 = 4 << 30

const (
	// maxLine is the maximum length of a line, in bytes. A store path takes at most 4,340.
	maxLine = 1 << 16
	// MaxPaths is the maximum number of different paths of a run. Each takes 20 to 40 bytes. A shard counts only its
	// own paths.
	MaxPaths = 1 << 26
)

// A LineError is the error of a line that is not a path.
type LineError struct {
	Name string // of the list
	Line int
	Text string
	Err  error
}

func (e *LineError) Error() string {
	return fmt.Sprintf("%s:%d: %q: %v", e.Name, e.Line, e.Text, e.Err)
}
func (e *LineError) Unwrap() error { return e.Err }

// A List is a set of paths. Its zero value is empty and accepts the paths of all shards.
type List struct {
	Shard  Shard // only its paths are kept
	Found  int   // paths of all shards that were read, including duplicates
	hashes []Hash
	sorted int // the first sorted hashes are in order and have no duplicates
}

// Read adds the paths of a list: one per line, as a store path, its base name or its hash part; # starts a comment. The
// list may be compressed. It is read to its end. A truncated list, or a line that is not a path, is an error.
func (l *List) Read(r io.Reader, name string) error {
	in := bufio.NewReader(r)
	if head, err := in.Peek(1); err == io.EOF && len(head) == 0 {
		if isPacked(name) {
			return fmt.Errorf("%s: %w: the list is empty, and its name is that of a compressed file", name, io.ErrUnexpectedEOF)
		}
		return nil
	}
	dec, _, err := compression.Decompress(in)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer dec.Close()
	lines := bufio.NewScanner(dec)
	lines.Buffer(make([]byte, 0, 4096), maxLine)
	n, left := 0, maxText
	for lines.Scan() {
		n++
		text := lines.Bytes()
		if left -= int64(len(text)) + 1; left < 0 {
			return fmt.Errorf("%s:%d: the list has more than %d bytes", name, n, maxText)
		}
		if i := bytes.IndexByte(text, '#'); i >= 0 {
			text = text[:i]
		}
		text = bytes.TrimSpace(text)
		if len(text) == 0 {
			continue
		}
		h, err := parsePath(string(text))
		if err != nil && lines.Err() != nil {
			break // the decompressed list ends in this line
		}
		if err != nil {
			return &LineError{name, n, clip(string(text)), err}
		}
		l.Found++
		if err := l.Add(h); err != nil {
			return fmt.Errorf("%s:%d: %w", name, n, err)
		}
	}
	if err := lines.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("the line has more than %d bytes", maxLine)
		}
		return fmt.Errorf("%s:%d: %w", name, n+1, err)
	}
	return nil
}

// isPacked reports whether a file or URL has the name of a compressed file. No such file is empty: the smallest has 9 bytes.
func isPacked(name string) bool {
	name, _, _ = strings.Cut(name, "?")
	return slices.Contains([]string{".xz", ".zst", ".zstd", ".gz", ".bz2"}, strings.ToLower(path.Ext(name)))
}

// parsePath returns the hash part of a store path, a base name or a hash part.
func parsePath(s string) (Hash, error) {
	if strings.Contains(s, "/") {
		_, base, err := storepath.Split(s)
		if err != nil {
			return Hash{}, err
		}
		s = base
	}
	if len(s) > storepath.HashLen {
		if err := storepath.CheckBaseName(s); err != nil {
			return Hash{}, err
		}
		s = s[:storepath.HashLen]
	}
	return ParseHash(s)
}

// Add adds a path, if it is in the shard.
func (l *List) Add(h Hash) error {
	if !l.Shard.Has(h) {
		return nil
	}
	if n := len(l.hashes); n == cap(l.hashes) && n > 2*l.sorted {
		l.compact() // repeated paths do not use more memory
	}
	if len(l.hashes) >= MaxPaths {
		if l.compact(); len(l.hashes) >= MaxPaths {
			return fmt.Errorf("more than %d paths: take them in shards", MaxPaths)
		}
	}
	l.hashes = append(l.hashes, h)
	return nil
}

func (l *List) compact() {
	if l.sorted == len(l.hashes) {
		return
	}
	slices.SortFunc(l.hashes, func(a, b Hash) int { return bytes.Compare(a[:], b[:]) })
	l.hashes = slices.Compact(l.hashes)
	l.sorted = len(l.hashes)
}

// All returns the paths in order.
func (l *List) All() iter.Seq[Hash] {
	l.compact()
	return slices.Values(l.hashes)
}

// clip shortens text from a file for a message.
func clip(s string) string {
	if len(s) > 300 {
		return s[:300] + "…"
	}
	return s
}

// IsPath reports whether s names a path in the form of a line of a list.
func IsPath(s string) bool {
	_, err := parsePath(s)
	return err == nil
}
