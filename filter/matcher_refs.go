package filter

import "bytes"

// ScanRefs calls found for each store path that b mentions: storeDir (such as
// "/nix/store"), a slash, a hash part, a dash and a name of as many characters
// as can belong to one, in any of the encodings enc. It gives the offset in b of
// the first character's byte that is not zero (so that it does not depend on the
// byte order, which often cannot be told), the base name HASH-NAME in one byte a
// character, valid during the call, and the encoding.
//
// As with Find, final says that no bytes follow b, and the bytes behind the
// settled ones are to be presented again with more behind them: less than
// refLen(storeDir, enc).
func ScanRefs(b []byte, final bool, storeDir string, enc Encodings, found func(off int, basename []byte, enc Encodings)) (settled int) {
	end := len(b)
	if !final {
		end = max(0, len(b)-refLen(storeDir, enc)+1)
	}
	s := refScanner{dir: storeDir + "/", enc: enc}
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

// refLen returns the bytes that the longest store path below storeDir has in
// the widest of the encodings.
func refLen(storeDir string, enc Encodings) int {
	return (len(storeDir) + 1 + maxBaseName) * enc.width()
}

type refScanner struct {
	dir string // with the slash at its end
	enc Encodings
	buf []byte
}

// A ref is one mention of a store path.
type ref struct {
	off, n int    // its bytes, b[off:off+n]
	char   int    // offset of a character's byte in its bytes
	text   []byte // the whole path, one byte a character
	enc    Encodings
}

// next returns the first mention in b that starts at from or later. It samples
// b as Rules.next does, and where it comes upon a gram of base 32 characters it
// looks for the slash before them.
func (s *refScanner) next(b []byte, from int) (m ref, ok bool) {
	n := 0
	for p := from + sampleStep - 1; p+gramLen <= len(b); p += sampleStep {
		w := le64(b[p:])
		n++
		if isHashGram(w) {
			if m, ok = s.around(b, p, from, UTF8); ok {
				return m, true
			}
		}
		if n%2 == 0 && isUTF16Gram(w) {
			if m, ok = s.around(b, p, from, UTF16); ok {
				return m, true
			}
		}
		if n%4 == 0 && isUTF32Gram(w) {
			if m, ok = s.around(b, p, from, UTF32); ok {
				return m, true
			}
		}
	}
	return ref{}, false
}

// around returns the mention in the encoding enc of which the hash part holds
// the gram at p.
func (s *refScanner) around(b []byte, p, from int, enc Encodings) (m ref, ok bool) {
	if s.enc&enc == 0 {
		return ref{}, false
	}
	width := enc.width()
	for end := p + width; p < end && b[p] == 0; p++ {
	}
	slash := p - width
	for lowest := max(from, p-gramsPerHash*width); ; slash -= width {
		if slash < lowest {
			return ref{}, false
		}
		if b[slash] == '/' {
			break
		}
	}
	start := slash - (len(s.dir)-1)*width
	for _, char := range [2]int{width - 1, 0} { // big-endian starts further left
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

// match returns the length of the store path that text begins with, or 0.
func (s *refScanner) match(text []byte) int {
	base, ok := bytes.CutPrefix(text, []byte(s.dir))
	if !ok || len(base) <= hashLen+1 || base[hashLen] != '-' {
		return 0
	}
	for _, c := range base[:hashLen] {
		if charClass[c]&classHash == 0 {
			return 0
		}
	}
	n := hashLen + 1
	for n < len(base) && charClass[base[n]]&className != 0 {
		n++
	}
	if n == hashLen+1 {
		return 0
	}
	return len(s.dir) + n
}
