package rules

import "narseal/nar/storepath"

// sampleWide is sample for a wide encoding. c is the offset of the first character of the sample.
func (r *Set) sampleWide(b []byte, c, from, width int) (m match, ok bool) {
	if c+(gramLen-1)*width >= len(b) {
		return match{}, false
	}
	var w uint64
	for i := gramLen - 1; i >= 0; i-- {
		w = w<<8 | uint64(b[c+i*width])
	}
	if !r.grams.has(w) {
		return match{}, false
	}
	// The characters around c, in one byte a character.
	var buf [sampleStep + hashLen]byte
	text, before := narrow(buf[:0], b, c, from, width)
	for i := r.windows.window(text, 0); i >= 0; i = r.windows.window(text, i+1) {
		at := c - (before-i)*width
		for _, char := range [2]int{width - 1, 0} { // big-endian text starts further left
			if m, ok = r.matchWide(b, at-char, from, width, char); ok {
				return m, true
			}
		}
	}
	return match{}, false
}

// matchWide returns the match that starts at off, if any.
func (r *Set) matchWide(b []byte, off, from, width, char int) (m match, ok bool) {
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

// narrow appends to buf the characters of a hash part around c, which are width bytes apart with zeros between them.
// It returns them, and how many stand before c: no more than fit the sampleStep bytes up to the sample.
func narrow(buf, b []byte, c, from, width int) (text []byte, before int) {
	start := c
	for before < (sampleStep-1)/width {
		q := start - width
		if q < from || !storepath.IsHashChar(b[q]) || !isolated(b, q, width) {
			break
		}
		start = q
		before++
	}
	text = buf
	for q := start; len(text) < before+hashLen && q < len(b) && storepath.IsHashChar(b[q]); q += width {
		text = append(text, b[q])
		if q+width > len(b) || !isolated(b, q, width) {
			break
		}
	}
	return text, before
}

// isolated reports whether the byte at q is followed by the zeros of a character of width bytes.
func isolated(b []byte, q, width int) bool {
	if b[q+1] != 0 {
		return false
	}
	return width == 2 || b[q+2]|b[q+3] == 0
}

// appendNarrow appends the characters at the start of b, at most n. A character is width bytes, of which all but the
// one at char are zero.
func appendNarrow(dst, b []byte, n, width, char int) []byte {
	for q := 0; n > 0 && q+width <= len(b); q += width {
		var others byte
		for i, c := range b[q : q+width] {
			if i != char {
				others |= c
			}
		}
		if others != 0 {
			break
		}
		dst = append(dst, b[q+char])
		n--
	}
	return dst
}
