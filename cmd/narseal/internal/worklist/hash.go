// Package worklist selects the paths of a cache that a run processes: the paths in lists, what they refer to, and one
// shard of all these.
//
// It stores only the hash part of a path, in 20 bytes.
package worklist

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"narseal/nar/storepath"
)

// hashSize is the size of a hash part in bytes: 32 characters of 5 bits.
const hashSize = storepath.HashLen * 5 / 8

// A Hash is the hash part of a store path. Hashes sort like their texts.
type Hash [hashSize]byte

var values = func() (t [256]byte) {
	for i := range storepath.HashAlphabet {
		t[storepath.HashAlphabet[i]] = byte(i)
	}
	return t
}()

// ParseHash returns the Hash of a hash part.
func ParseHash(s string) (h Hash, err error) {
	if err := storepath.CheckHash(s); err != nil {
		return h, err
	}
	// 8 characters encode 5 bytes.
	for i := range storepath.HashLen / 8 {
		var v uint64
		for _, c := range []byte(s[8*i : 8*i+8]) {
			v = v<<5 | uint64(values[c])
		}
		for j := range 5 {
			h[5*i+j] = byte(v >> (8 * (4 - j)))
		}
	}
	return h, nil
}

// String returns the hash part as text.
func (h Hash) String() string {
	var b [storepath.HashLen]byte
	for i := range storepath.HashLen / 8 {
		var v uint64
		for j := range 5 {
			v = v<<8 | uint64(h[5*i+j])
		}
		for j := range 8 {
			b[8*i+j] = storepath.HashAlphabet[v>>(5*(7-j))&31]
		}
	}
	return string(b[:])
}

// A Shard is one of Count equal parts of the range of hash parts, ordered as text. The shard of a path depends only on
// its hash part. The zero Shard is the whole range.
type Shard struct{ Index, Count int }

// String returns I/N, or "" for the whole range.
func (s Shard) String() string {
	if s.Count <= 1 {
		return ""
	}
	return fmt.Sprintf("%d/%d", s.Index, s.Count)
}

// Has reports whether a hash part is in the shard.
func (s Shard) Has(h Hash) bool {
	if s.Count <= 1 {
		return true
	}
	// The first 64 of 160 bits are enough for MaxShards shards.
	part, _ := bits.Mul64(binary.BigEndian.Uint64(h[:]), uint64(s.Count))
	return part == uint64(s.Index)
}
