package filter

import (
	"encoding/binary"
	"math/bits"
)

// Finding a hash part without looking at every byte: of the gramLen characters
// that stand at a sampled position, one such gram lies wholly in any run of
// hashLen characters when the positions are sampleStep apart. A hit in the bit
// set of all hash parts' grams is then checked against the whole hash part at
// each place that it can have around the gram.
//
// Wide text is sampled the same way, sampleStep characters apart: its
// characters are packed into a gram first.
const (
	gramLen      = 8
	sampleStep   = 24
	gramsPerHash = hashLen - gramLen + 1

	gramBits   = 32 // bits of the set for a gram
	windowBits = 32 // bits of the set for a hash part
)

func le64(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

func gramHash(w uint64) uint64 { return w * 0x9e3779b97f4a7c15 }

func windowHash(b []byte) uint64 {
	_ = b[hashLen-1]
	return (le64(b)^bits.RotateLeft64(le64(b[16:]), 31))*0x9e3779b97f4a7c15 +
		(le64(b[8:])^bits.RotateLeft64(le64(b[24:]), 29))*0xc2b2ae3d27d4eb4f
}

// A bitset holds the hashes that were added to it, and some more.
type bitset []uint64

func newBitset(size int) bitset {
	return make(bitset, max(1<<6, 1<<bits.Len(uint(size)/64)))
}

func (s bitset) add(h uint64) {
	s[h>>40&uint64(len(s)-1)] |= 1 << (h >> 34 & 63)
}

func (s bitset) has(h uint64) bool {
	return s[h>>40&uint64(len(s)-1)]&(1<<(h>>34&63)) != 0
}

// A match is one occurrence of a rule.
type match struct {
	off, n int // its bytes, b[off:off+n]
	rule   int
	width  int // bytes a character
	char   int // offset of the character's byte in them
}

// next returns the first match in b that starts at from or later, and the
// longest at that place.
func (r *Rules) next(b []byte, from int) (m match, ok bool) {
	n := 0
	for p := from + sampleStep - 1; p+gramLen <= len(b); p += sampleStep {
		w := le64(b[p:])
		if r.grams.has(gramHash(w)) {
			if m, ok = r.around(b, p, from); ok {
				return m, true
			}
		}
		if n++; n%2 == 0 {
			if m, ok = r.wide(b, p, from, w, 2); ok {
				return m, true
			}
		}
		if n%4 == 0 {
			if m, ok = r.wide(b, p, from, w, 4); ok {
				return m, true
			}
		}
	}
	return match{}, false
}

// around returns the first match of one byte a character that holds the gram at p.
func (r *Rules) around(b []byte, p, from int) (m match, ok bool) {
	if r.enc&UTF8 == 0 {
		return match{}, false
	}
	first, last := r.places(b, p, from)
	for s := first; s <= last; s++ {
		if r.windows.has(windowHash(b[s:])) {
			if rule, ok := r.lookup(b[s:]); ok {
				return match{off: s, n: len(r.rules[rule].From), rule: rule, width: 1}, true
			}
		}
	}
	return match{}, false
}

// places returns where a hash part that holds the gram at p can start. The
// grams before and behind narrow it down.
func (r *Rules) places(b []byte, p, from int) (first, last int) {
	first, last = max(from, p-(hashLen-gramLen)), min(p, len(b)-hashLen)
	if q := p - gramLen; q < from || !r.grams.has(gramHash(le64(b[q:]))) {
		first = max(first, q+1)
	}
	if q := p + gramLen; q+gramLen > len(b) || !r.grams.has(gramHash(le64(b[q:]))) {
		last = min(last, q-(hashLen-gramLen)-1)
	}
	return first, last
}

// wide returns the first match of width bytes a character that holds the
// gramLen characters at p; w is b[p:p+8].
func (r *Rules) wide(b []byte, p, from int, w uint64, width int) (m match, ok bool) {
	if r.enc&Encodings(width) == 0 || p+gramLen*width > len(b) {
		return match{}, false
	}
	// The first character's byte in w.
	at := 0
	for at < width && b[p+at] == 0 {
		at++
	}
	if at == width {
		return match{}, false
	}
	// The characters around p as bytes, so that they can be searched as such.
	var buf [2*hashLen - gramLen]byte
	text, before := narrow(buf[:], b, p+at, from, width)
	for i := range before + 1 {
		if i+hashLen > len(text) {
			break
		}
		if !r.windows.has(windowHash(text[i:])) {
			continue
		}
		c := p + at - (before-i)*width
		for _, char := range [2]int{width - 1, 0} { // big-endian starts further left
			if m, ok = r.wideAt(b, c-char, from, width, char); ok {
				return m, true
			}
		}
	}
	return match{}, false
}

// narrow fills buf with the base 32 characters around c, the place of one,
// that stand width bytes apart with zeros between them: at most gramsPerHash-1
// before it and hashLen-1 behind it. It returns them, and how many are before c.
func narrow(buf []byte, b []byte, c, from, width int) (text []byte, before int) {
	for before < gramsPerHash-1 {
		q := c - (before+1)*width
		if q < from || charClass[b[q]]&classHash == 0 || !zeros(b[q+1:q+width]) {
			break
		}
		before++
	}
	text = buf[:0]
	for q := c - before*width; len(text) < before+hashLen && q < len(b) && charClass[b[q]]&classHash != 0; q += width {
		text = append(text, b[q])
		if q+width > len(b) || !zeros(b[q+1:q+width]) {
			break
		}
	}
	return text, before
}

func zeros(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// wideAt returns the match that starts at off, if there is one.
func (r *Rules) wideAt(b []byte, off, from, width, char int) (m match, ok bool) {
	if off < from {
		return match{}, false
	}
	var buf [maxBaseName]byte
	text := appendNarrow(buf[:0], b[off:], r.longest, width, char)
	if len(text) < hashLen {
		return match{}, false
	}
	rule, ok := r.lookup(text)
	if !ok {
		return match{}, false
	}
	return match{off: off, n: len(r.rules[rule].From) * width, rule: rule, width: width, char: char}, true
}

// appendNarrow appends the characters that b begins with, at most n, each
// width bytes of which all but the one at char are zero.
func appendNarrow(dst, b []byte, n, width, char int) []byte {
	for q := 0; n > 0 && q+width <= len(b); q += width {
		if !zeros(b[q:q+char]) || !zeros(b[q+char+1:q+width]) {
			break
		}
		dst = append(dst, b[q+char])
		n--
	}
	return dst
}

// isHashGram reports whether all bytes of w may stand in a hash part.
func isHashGram(w uint64) bool {
	for range 8 {
		if charClass[byte(w)]&classHash == 0 {
			return false
		}
		w >>= 8
	}
	return true
}

// isUTF16Gram reports whether w may be part of a hash part in UTF-16, in either
// byte order and at any offset: between zeros, bytes that have the bits that
// all of nixbase32's characters have.
func isUTF16Gram(w uint64) bool {
	return w&0xffa0ffa0ffa0ffa0 == 0x0020002000200020 || w&0xa0ffa0ffa0ffa0ff == 0x2000200020002000
}

// isUTF32Gram is isUTF16Gram for UTF-32.
func isUTF32Gram(w uint64) bool {
	return w&0xffffffa0ffffffa0 == 0x0000002000000020 || w&0xffffa0ffffffa0ff == 0x0000200000002000 ||
		w&0xffa0ffffffa0ffff == 0x0020000000200000 || w&0xa0ffffffa0ffffff == 0x2000000020000000
}
