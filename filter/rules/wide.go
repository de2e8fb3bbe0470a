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
		if m, ok = r.matchWide(b, text[i:i+hashLen], c-(before-i)*width, from, width); ok {
			return m, true
		}
	}
	return match{}, false
}

// matchWide returns the match whose hash part is hash, of which the first character is the byte at first, if any.
func (r *Set) matchWide(b, hash []byte, first, from, width int) (m match, ok bool) {
	text := hash
	if r.bare != nil {
		end := first + hashLen*width
		dash := end < len(b) && b[end] == '-'
		if !dash && !r.bare.has(windowHash(hash)) {
			return match{}, false
		}
		if dash {
			var buf [maxBaseName]byte
			text = r.widen(append(buf[:0], hash...), b, first, width)
		}
	}
	// Big-endian text has its zeros before the first character, and so starts further left.
	if off := first - (width - 1); off >= from && zeros(b[off:first]) {
		if rule, ok := r.lookup(text); ok {
			return match{off: off, n: len(r.rules[rule].From) * width, rule: rule, width: width, char: width - 1}, true
		}
	}
	// Little-endian text has them after the last one.
	if last := first + (len(text)-1)*width; last+width > len(b) || !zeros(b[last+1:last+width]) {
		if text = text[:len(text)-1]; len(text) < hashLen {
			return match{}, false
		}
	}
	rule, ok := r.lookup(text)
	if !ok {
		return match{}, false
	}
	return match{off: first, n: len(r.rules[rule].From) * width, rule: rule, width: width}, true
}

// widen appends to text, whose first character is the byte at first, the characters that follow it, up to the length of
// the longest rule.
func (r *Set) widen(text, b []byte, first, width int) []byte {
	for q := first + len(text)*width; len(text) < r.longest && q < len(b) && zeros(b[q-width+1:q]); q += width {
		text = append(text, b[q])
	}
	return text
}

// zeros reports whether the bytes between two characters are zero.
func zeros(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
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
