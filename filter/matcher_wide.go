package filter

// sampleWide is sample for a wide encoding: c is the place of the first
// character that is sampled.
func (r *Rules) sampleWide(b []byte, c, from, width int) (m match, ok bool) {
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
	// The characters around c as bytes, so that they can be searched as such.
	var buf [sampleStep + hashLen]byte
	text, before := narrow(buf[:0], b, c, from, width)
	for i := r.windows.window(text, 0); i >= 0; i = r.windows.window(text, i+1) {
		at := c - (before-i)*width
		for _, char := range [2]int{width - 1, 0} { // big-endian starts further left
			if m, ok = r.matchWide(b, at-char, from, width, char); ok {
				return m, true
			}
		}
	}
	return match{}, false
}

// matchWide returns the match that starts at off, if there is one.
func (r *Rules) matchWide(b []byte, off, from, width, char int) (m match, ok bool) {
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

// narrow appends to buf the characters of a hash part that stand around c,
// width bytes apart with zeros between them, and returns them and how many
// stand before c: no more than can be in the sampleStep bytes up to the sample.
func narrow(buf, b []byte, c, from, width int) (text []byte, before int) {
	start := c
	for before < (sampleStep-1)/width {
		q := start - width
		if q < from || charClass[b[q]]&classHash == 0 || !isolated(b, q, width) {
			break
		}
		start = q
		before++
	}
	text = buf
	for q := start; len(text) < before+hashLen && q < len(b) && charClass[b[q]]&classHash != 0; q += width {
		text = append(text, b[q])
		if q+width > len(b) || !isolated(b, q, width) {
			break
		}
	}
	return text, before
}

// isolated reports whether zeros follow the byte at q in a character of width
// bytes that begins there.
func isolated(b []byte, q, width int) bool {
	if b[q+1] != 0 {
		return false
	}
	return width == 2 || b[q+2]|b[q+3] == 0
}

// appendNarrow appends the characters that b begins with, at most n, each
// width bytes of which all but the one at char are zero.
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
