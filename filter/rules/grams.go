package rules

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"sync"

	"narseal/nar/storepath"
)

func le64(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

const ones = 0x0101010101010101 // a one in each byte

// Odd multipliers with mixed bits. The upper halves of the products are used.
const (
	mix1 = 0x9e3779b97f4a7c15
	mix2 = 0xc2b2ae3d27d4eb4f
)

// A bitset contains the hashes that were added to it, and some others.
type bitset []uint64

// newBitset returns an empty set of at least size bits, up to the number of different hashes.
func newBitset(size int) bitset {
	return make(bitset, min(max(64, 1<<bits.Len(uint(size-1)/64)), 1<<20))
}

// Bits 44 and up of a hash select the word, bits 38 to 43 the bit in it.
func (s bitset) add(h uint64) {
	s[h>>44&uint64(len(s)-1)] |= 1 << (h >> 38 & 63)
}

func (s bitset) has(h uint64) bool {
	return s[h>>44&uint64(len(s)-1)]&(1<<(h>>38&63)) != 0
}

// union adds the contents of other, which has the same size or is nil, and returns s.
func (s bitset) union(other bitset) bitset {
	for i, w := range other {
		s[i] |= w
	}
	return s
}

// windowHash returns the hash of hashLen bytes for a bitset.
func windowHash(b []byte) uint64 {
	b = b[:hashLen:hashLen]
	h := (le64(b)^bits.RotateLeft64(le64(b[16:]), 31))*mix1 +
		(le64(b[8:])^bits.RotateLeft64(le64(b[24:]), 29))*mix2
	return h ^ h>>17 // until here, the last bytes of the words affect the top bits only
}

// A gramSet contains the grams that were added to it, and some others. A gram sets two bits of a word: the one that
// its hash has in a bitset, and another.
type gramSet struct {
	bits bitset
	mul  uint64
}

// frequent lists grams that are common in files but occur in no hash part. If a set contained one of them by chance,
// the search would be slow on files that are full of it.
var frequent = [...]uint64{0, ^uint64(0), ' ' * ones, 0x90 * ones, 0xcc * ones}

// newGramSet returns a set of at least size bits, filled by fill, if possible without frequent grams.
func newGramSet(size int, fill func(gramSet)) gramSet {
	s := gramSet{newBitset(size), mix1}
	for tries := 1; ; tries++ {
		fill(s)
		if tries == 16 || !slices.ContainsFunc(frequent[:], s.likely) {
			return s
		}
		clear(s.bits)
		s.mul *= mix2
	}
}

// addHash adds all grams of a shape that can occur as samples of a hash part.
func (s gramSet) addHash(hash string, shape gramShape) {
	width := shape.enc.Width()
	text := []byte(hash[:hashLen])
	for at := 0; at*width < sampleStep; at++ {
		gram := le64(text[at:])
		if width > 1 {
			gram = shape.gram(text[at:])
		}
		s.add(gram)
	}
}

// find returns the index of a gram's word, and its bits there.
func (s gramSet) find(gram uint64) (word, mask uint64) {
	h := gram * s.mul
	return h >> 44 & uint64(len(s.bits)-1), 1<<(h>>38&63) | 1<<(h>>32&63)
}

func (s gramSet) add(gram uint64) {
	word, mask := s.find(gram)
	s.bits[word] |= mask
}

func (s gramSet) has(gram uint64) bool {
	word, mask := s.find(gram)
	return s.bits[word]&mask == mask
}

// missing returns the bits of a gram that are not set. It returns 0 if the set contains the gram.
func (s gramSet) missing(gram uint64) uint64 {
	word, mask := s.find(gram)
	return mask &^ s.bits[word]
}

// likely is like has, but checks only one of the two bits.
func (s gramSet) likely(gram uint64) bool { return s.bits.has(gram * s.mul) }

// A gramKind is a set of the ways in which the 8 bytes of a gram can be part of a hash part. A gram has at most one
// bit.
type gramKind uint8

const (
	kindUTF8  gramKind = 1      // characters
	kindUTF16 gramKind = 3 << 1 // every second byte, from byte 0 or 1, is a character; the others are zero
	kindUTF32 gramKind = 15 << 3
)

// A gramShape describes one bit of a gramKind.
type gramShape struct {
	enc   Encodings
	first int // the first byte that is a character
}

var gramShapes = [...]gramShape{{UTF8, 0}, {UTF16, 0}, {UTF16, 1}, {UTF32, 0}, {UTF32, 1}, {UTF32, 2}, {UTF32, 3}}

// shape returns the shape of a kind that is not 0.
func (k gramKind) shape() gramShape { return gramShapes[bits.TrailingZeros8(uint8(k))] }

// shapesOf returns the shapes of grams of the encodings.
func shapesOf(enc Encodings) (shapes []gramShape) {
	for _, shape := range gramShapes {
		if enc&shape.enc != 0 {
			shapes = append(shapes, shape)
		}
	}
	return shapes
}

// kindsOf returns the kinds of grams of the encodings.
func kindsOf(enc Encodings) (k gramKind) {
	for i, shape := range gramShapes {
		if enc&shape.enc != 0 {
			k |= 1 << i
		}
	}
	return k
}

// A pairTable holds the kinds that a gram can have, given two of its bytes: even for the bytes at 0 and 1 or at 4 and
// 5, odd for those at 2 and 3 or at 6 and 7.
type pairTable struct{ even, odd [1 << 16]gramKind }

// kind returns how the gram w can be part of a hash part, or 0 if it cannot.
func (t *pairTable) kind(w uint64) gramKind {
	return t.likely(w) & t.even[uint16(w>>32)]
}

// likely is like kind, but checks only six of the bytes.
func (t *pairTable) likely(w uint64) gramKind {
	return t.even[uint16(w)] & t.odd[uint16(w>>16)] & t.odd[w>>48]
}

var hashPairs = sync.OnceValue(func() *pairTable {
	// The kinds that a byte at each of these offsets allows.
	var kinds [4][256]gramKind
	for at := range kinds {
		for c := range kinds[at] {
			for i, shape := range gramShapes {
				if shape.allows(at, byte(c)) {
					kinds[at][c] |= 1 << i
				}
			}
		}
	}
	t := new(pairTable)
	for second := range kinds[1] {
		if kinds[1][second]|kinds[3][second] == 0 {
			continue // most of the table is never touched; touching it would take longer than everything else here
		}
		for first := range kinds[0] {
			pair := second<<8 | first
			t.even[pair] = kinds[0][first] & kinds[1][second]
			t.odd[pair] = kinds[2][first] & kinds[3][second]
		}
	}
	return t
})

// allows reports whether a gram of this shape can have c at offset i.
func (s gramShape) allows(i int, c byte) bool {
	if i%s.enc.Width() != s.first {
		return c == 0
	}
	return storepath.IsHashChar(c)
}

// gram returns the gram of this shape with the characters that text begins with.
func (s gramShape) gram(text []byte) (w uint64) {
	for i, n := s.first, 0; i < gramLen; i, n = i+s.enc.Width(), n+1 {
		w |= uint64(text[n]) << (8 * i)
	}
	return w
}
