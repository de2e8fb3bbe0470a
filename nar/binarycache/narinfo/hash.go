package narinfo

import (
	"fmt"

	"github.com/nix-community/go-nix/pkg/nixbase32"
	"github.com/nix-community/go-nix/pkg/nixhash"
)

const (
	sha256Prefix  = "sha256:"
	sha256TextLen = 52 // of 32 bytes in Nix's base 32
)

// digits maps each character of Nix's base 32 to its value, and all others to noDigit.
var digits = func() (t [256]uint8) {
	for c := range t {
		t[c] = noDigit
	}
	for i := range len(nixbase32.Alphabet) {
		t[nixbase32.Alphabet[i]] = uint8(i)
	}
	return t
}()

const noDigit = 0xff

// parseHash parses a SHA-256 in any form that Nix knows.
func parseHash(s string) (sum [32]byte, err error) {
	if sum, ok := parseUsual(s); ok {
		return sum, nil
	}
	h, err := nixhash.ParseAny(s, nil)
	if err != nil {
		return sum, err
	}
	if h.Algo() != nixhash.SHA256 {
		return sum, fmt.Errorf("%s is not supported, want sha256", h.Algo())
	}
	// go-nix also accepts base 64 of 31 bytes with two characters of padding.
	if len(h.Digest()) != len(sum) {
		return sum, fmt.Errorf("a hash of %d bytes, want %d", len(h.Digest()), len(sum))
	}
	return [32]byte(h.Digest()), nil
}

// parseUsual parses the form that all caches use. It is faster than go-nix, which matters for small NARs. All other
// forms and errors are left to go-nix.
func parseUsual(s string) (sum [32]byte, ok bool) {
	if len(s) != len(sha256Prefix)+sha256TextLen || s[:len(sha256Prefix)] != sha256Prefix {
		return sum, false
	}
	text := s[len(sha256Prefix):]
	var v uint // bits that do not fill a byte yet
	bits, n := 0, 0
	for i := len(text) - 1; i >= 0; i-- {
		d := digits[text[i]]
		if d == noDigit {
			return sum, false
		}
		v |= uint(d) << bits
		if bits += 5; bits >= 8 && n < len(sum) {
			sum[n] = byte(v)
			v, bits, n = v>>8, bits-8, n+1
		}
	}
	return sum, v == 0 // 52 characters have 4 bits more than 32 bytes
}

// HashText returns the usual form of a SHA-256 in a narinfo.
func HashText(h [32]byte) string {
	b := []byte(sha256Prefix + "0000000000000000000000000000000000000000000000000000")
	nixbase32.Encode(b[len(sha256Prefix):], h[:])
	return string(b)
}
