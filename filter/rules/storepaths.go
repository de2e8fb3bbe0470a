package rules

import (
	"bytes"

	"narseal/nar/storepath"
)

// ScanStorePaths calls found for each store path in b, in any of the encodings enc. A store path is storeDir, a slash,
// a hash part, a dash, and all following characters that can belong to a name. found gets the offset in b, the base
// name HASH-NAME with one byte per character, which is valid only during the call, and the encoding. The offset is that
// of the first nonzero byte, so that it does not depend on the byte order, which is often ambiguous.
//
// final and settled are as for Set.Find. Fewer than len(storeDir)+1+storepath.MaxBaseName characters remain unsettled.
func ScanStorePaths(b []byte, final bool, storeDir string, enc Encodings, found func(off int, basename []byte, enc Encodings)) (settled int) {
	end := len(b)
	if !final {
		end = max(0, len(b)-refLen(storeDir, enc)+1)
	}
	s := refScanner{dir: storeDir + "/", pairs: hashPairs(), kinds: kindsOf(enc)}
	for settled < end {
		m, ok := s.next(b, settled)
		if !ok || m.off >= end {
			break
		}
		found(m.off+m.char, m.text[len(s.dir):], m.enc)
		settled = m.off + m.n
	}
	return max(settled, end)
}

// refLen returns the length in bytes of the longest store path in storeDir, in the widest of the encodings.
func refLen(storeDir string, enc Encodings) int {
	return (len(storeDir) + 1 + maxBaseName) * enc.Width()
}

type refScanner struct {
	dir   string // with a trailing slash
	pairs *pairTable
	kinds gramKind
	buf   []byte
}

// A ref is a reference: a place that names a store path.
type ref struct {
	off, n int    // its bytes, b[off:off+n]
	char   int    // the index of the nonzero byte in a character
	text   []byte // the whole path, with one byte per character
	enc    Encodings
}

// anyGram contains all grams.
var anyGram = gramSet{bits: bitset{^uint64(0)}}

// next returns the first reference in b that starts at from or later. It samples b like Set.next. At a gram of a hash
// part, it looks for the slash before it.
func (s *refScanner) next(b []byte, from int) (m ref, ok bool) {
	for base := from; base < len(b); base += blockLen {
		base = skipMany(b, base, anyGram, s.pairs)
		for p := base + sample1; p <= base+sample4 && p+gramLen <= len(b); p += sampleStep {
			kind := s.pairs.kind(le64(b[p:])) & s.kinds
			if kind == 0 {
				continue
			}
			shape := kind.shape()
			if m, ok = s.around(b, p+shape.first, from, shape.enc); ok {
				return m, true
			}
		}
	}
	return ref{}, false
}

// around returns the reference in the encoding enc whose hash part contains the character at c.
func (s *refScanner) around(b []byte, c, from int, enc Encodings) (m ref, ok bool) {
	width := enc.Width()
	slash := c - width
	for lowest := max(from, c-sampleStep-width); ; slash -= width {
		if slash < lowest {
			return ref{}, false
		}
		// Step over whole grams without a slash.
		for width == 1 && slash-gramLen >= lowest && s.pairs.kind(le64(b[slash+1-gramLen:])) == kindUTF8 {
			slash -= gramLen
		}
		if b[slash] == '/' {
			break
		}
	}
	start := slash - (len(s.dir)-1)*width
	for _, char := range [2]int{width - 1, 0} { // big-endian text starts further left
		off := start - char
		if off < from {
			continue
		}
		s.buf = appendNarrow(s.buf[:0], b[off:], len(s.dir)+maxBaseName, width, char)
		if n := s.match(s.buf); n > 0 {
			return ref{off: off, n: n * width, char: char, text: s.buf[:n], enc: enc}, true
		}
	}
	return ref{}, false
}

// match returns the length of the store path at the start of text, or 0.
func (s *refScanner) match(text []byte) int {
	base, ok := bytes.CutPrefix(text, []byte(s.dir))
	if !ok || len(base) <= hashLen+1 || base[hashLen] != '-' {
		return 0
	}
	for _, c := range base[:hashLen] {
		if !storepath.IsHashChar(c) {
			return 0
		}
	}
	n := hashLen + 1
	for n < len(base) && storepath.IsNameChar(base[n]) {
		n++
	}
	if n == hashLen+1 {
		return 0
	}
	return len(s.dir) + n
}
