package rules

import "narseal/nar/storepath"

// wideRun is the maximum number of characters of wide text that sampleWide searches at a time. Most of the work is to
// make them narrow, so a long run of wide text is made narrow once, not again for each sample.
const wideRun = 512

// sampleWide is like sample, for a wide encoding. c is the offset of the first character of the sample. If there is no
// match, no match in any encoding starts before settled, since only this encoding fits the characters around c.
func (r *Set) sampleWide(b []byte, c, from, width int) (m match, settled int, ok bool) {
	if c+(gramLen-1)*width >= len(b) {
		return match{}, 0, false
	}
	var w uint64
	for i := gramLen - 1; i >= 0; i-- {
		w = w<<8 | uint64(b[c+i*width])
	}
	if !r.grams.has(w) {
		return match{}, 0, false
	}
	// The characters around c, with one byte per character: first those of one hash part, then more.
	var buf [wideRun]byte
	text, before := narrow(buf[:0], b, c, from, width)
	start := c - before*width
	for i, more := 0, true; more; more = len(text) >= i+hashLen {
		for ; i+hashLen <= len(text); i++ {
			if !r.mayMatchWide(b, text[i:i+hashLen], start+(i+hashLen)*width) {
				continue
			}
			if m, ok = r.matchWide(b, text[i:i+hashLen], start+i*width, from, width); ok {
				return m, 0, true
			}
		}
		text = appendIsolated(text, b, start+len(text)*width, wideRun, width)
	}
	// A big-endian character starts up to width-1 bytes before its byte.
	return match{}, start + (len(text)-hashLen+1)*width - (width - 1), false
}

// mayMatchWide reports whether hash, followed by the character at end, can be a match. If so, it almost always is one.
func (r *Set) mayMatchWide(b, hash []byte, end int) bool {
	if r.bare != nil && (end >= len(b) || b[end] != '-') {
		return r.bare.has(windowHash(hash)) // only with a name are the others rules
	}
	return r.windows.has(windowHash(hash))
}

// matchWide returns the match whose hash part is hash, if any. The first character of hash is the byte at first.
func (r *Set) matchWide(b, hash []byte, first, from, width int) (m match, ok bool) {
	text := hash
	if end := first + hashLen*width; r.bare != nil && end < len(b) && b[end] == '-' {
		var buf [maxBaseName]byte
		text = r.widen(append(buf[:0], hash...), b, first, width)
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

// widen appends the characters that follow text, up to the length of the longest rule. The first character of text is
// the byte at first.
func (r *Set) widen(text, b []byte, first, width int) []byte {
	q := first + len(text)*width
	if width == 2 && q <= len(b) && b[q-1] == 0 { // four characters at a time
		for ; len(text)+4 <= r.longest && q+8 <= len(b); q += 8 {
			w := le64(b[q:])
			if w&0xff00ff00ff00ff00 != 0 {
				break
			}
			w |= w >> 8
			text = append(text, byte(w), byte(w>>16), byte(w>>32), byte(w>>48))
		}
	}
	for ; len(text) < r.longest && q < len(b) && zeros(b[q-width+1:q]); q += width {
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

// narrow appends the characters of a hash part around c, which are width bytes apart with zeros between them, to buf.
// It returns them, and the number of those before c: at most as many as fit into the sampleStep bytes up to the sample.
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
	return appendIsolated(buf, b, start, before+hashLen, width), before
}

// appendIsolated appends characters of hash parts, from the byte at q on, to text, up to a length of n.
func appendIsolated(text, b []byte, q, n, width int) []byte {
	if len(text) > 0 && (q > len(b) || !isolated(b, q-width, width)) {
		return text // no zeros follow its last character, so no other character does
	}
	for ; len(text) < n && q < len(b) && storepath.IsHashChar(b[q]); q += width {
		text = append(text, b[q])
		if q+width > len(b) || !isolated(b, q, width) {
			break
		}
	}
	return text
}

// isolated reports whether the byte at q is followed by the zeros of a character of width bytes.
func isolated(b []byte, q, width int) bool {
	if b[q+1] != 0 {
		return false
	}
	return width == 2 || b[q+2]|b[q+3] == 0
}

// appendNarrow appends the characters at the start of b to dst, at most n. A character has width bytes, which are zero
// except for the one at index char.
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
