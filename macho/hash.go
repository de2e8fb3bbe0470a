package macho

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"hash"
	"strconv"
)

// HashType is the hash algorithm of a CodeDirectory (CS_HASHTYPE_* in xnu osfmk/kern/cs_blobs.h; only the headers of
// Security.framework have SHA-512).
type HashType uint8

const (
	SHA1            HashType = 1
	SHA256          HashType = 2
	SHA256Truncated HashType = 3 // SHA-256 cut to 20 bytes
	SHA384          HashType = 4
	SHA512          HashType = 5
)

const maxDigest = sha512.Size

// String returns the algorithm's name: "sha1", "sha256", "sha256-truncated", "sha384" or "sha512". An unknown type 9 is
// "type-9".
func (t HashType) String() string {
	switch t {
	case SHA1:
		return "sha1"
	case SHA256:
		return "sha256"
	case SHA256Truncated:
		return "sha256-truncated"
	case SHA384:
		return "sha384"
	case SHA512:
		return "sha512"
	}
	return "type-" + strconv.Itoa(int(t))
}

// MarshalText returns the name that String returns.
func (t HashType) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// size returns the number of bytes of a digest in a slot, or 0 for an unknown type.
func (t HashType) size() int {
	switch t {
	case SHA1, SHA256Truncated:
		return 20
	case SHA256:
		return sha256.Size
	case SHA384:
		return sha512.Size384
	case SHA512:
		return sha512.Size
	}
	return 0
}

func (t HashType) isSHA256() bool { return t == SHA256 || t == SHA256Truncated }

// New returns a new hash, or nil for an unknown type. The sums of SHA256Truncated are not truncated: only their first 20
// bytes are a digest.
func (t HashType) New() hash.Hash {
	switch t {
	case SHA1:
		return sha1.New()
	case SHA256, SHA256Truncated:
		return sha256.New()
	case SHA384:
		return sha512.New384()
	case SHA512:
		return sha512.New()
	}
	return nil
}

// digest has room for any digest. Only the first size bytes are used.
type digest [maxDigest]byte

// sum hashes data in one call. For a page this is faster than New, and it allocates nothing.
func (t HashType) sum(data []byte, d *digest) {
	switch t {
	case SHA1:
		s := sha1.Sum(data)
		copy(d[:], s[:])
	case SHA256, SHA256Truncated:
		s := sha256.Sum256(data)
		copy(d[:], s[:])
	case SHA384:
		s := sha512.Sum384(data)
		copy(d[:], s[:])
	case SHA512:
		*d = sha512.Sum512(data)
	default:
		panic("macho: sum of unknown type")
	}
}
