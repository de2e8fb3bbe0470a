package rules

// MaxLen returns the length in bytes of the longest occurrence that a rule can have.
func (r *Set) MaxLen() int { return r.longest * r.enc.Width() }

// Find calls found for each occurrence of a rule in b, from left to right, with its offset in b, its length in bytes
// and the number of the rule. final says that no bytes follow b.
//
// Find returns the number of settled bytes: all of b if final is set. The rest of b, always less than MaxLen, may be
// the start of an occurrence. Nothing in it was reported; the caller passes it again with more bytes after it. So the
// matches do not depend on how a stream is split.
func (r *Set) Find(b []byte, final bool, found func(off, n, rule int)) (settled int) {
	return r.each(b, final, func(m match) { found(m.off, m.n, m.rule) })
}

// FindAll is like Find, but reports all occurrences, including overlapping ones. If several rules match at the same
// offset, the longest comes first. In a wide encoding, text that is complete in both byte orders is reported twice, at
// two offsets.
func (r *Set) FindAll(b []byte, final bool, found func(off, n, rule int)) (settled int) {
	end := r.decided(b, final)
	for at := 0; at < end && len(b)-at >= hashLen; {
		m, ok := r.next(b, at)
		if !ok || m.off >= end {
			break
		}
		for rule, ok := m.rule, true; ok; rule, ok = r.prefix(rule) {
			found(m.off, len(r.rules[rule].From)*m.width, rule)
		}
		at = m.off + 1
	}
	return end
}

// Replace is like Find, and also replaces each occurrence in place.
func (r *Set) Replace(b []byte, final bool, found func(off, n, rule int)) (settled int) {
	return r.each(b, final, func(m match) {
		to := r.rules[m.rule].To
		for i, q := 0, m.off+m.char; i < len(to); i, q = i+1, q+m.width {
			b[q] = to[i]
		}
		found(m.off, m.n, m.rule)
	})
}

// Apply returns s with the rules applied.
func (r *Set) Apply(s string) string {
	b := []byte(s)
	r.Replace(b, true, func(_, _, _ int) {})
	return string(b)
}

// Contains reports whether a rule occurs in b.
func (r *Set) Contains(b []byte) bool {
	if len(b) < hashLen {
		return false
	}
	_, ok := r.next(b, 0)
	return ok
}

// decided returns the end of the offsets at which b is sufficient to decide whether a match starts, because the longest
// match fits.
func (r *Set) decided(b []byte, final bool) int {
	if final {
		return len(b)
	}
	return max(0, len(b)-(r.MaxLen()-1))
}

// each calls f for each match that is decided by the bytes of b, and returns the number of settled bytes.
func (r *Set) each(b []byte, final bool, f func(match)) (settled int) {
	end := r.decided(b, final)
	if len(b) < hashLen {
		return end
	}
	for settled < end {
		m, ok := r.next(b, settled)
		if !ok || m.off >= end {
			break
		}
		f(m)
		settled = m.off + m.n
	}
	return max(settled, end)
}
