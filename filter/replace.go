package filter

// maxHold returns the most bytes that replace leaves to be presented again: one
// less than the longest occurrence has.
func (r *Rules) maxHold() int { return r.longest*r.enc.width() - 1 }

// Find calls found for each occurrence of a rule in b, from left to right, with
// its offset in b, its length in bytes and the number of the rule. final says
// that no bytes follow b.
//
// It returns the number of leading bytes that are settled: all of them where
// final is set. The rest, never more than one byte less than the longest
// occurrence can have, may begin an occurrence that bytes yet to come complete;
// nothing in it was reported, and the caller presents it again with more bytes
// behind it. What is found does not depend on where a stream is cut.
func (r *Rules) Find(b []byte, final bool, found func(off, n, rule int)) (settled int) {
	return r.each(b, final, func(m match) { found(m.off, m.n, m.rule) })
}

// replace is Find that also rewrites what it finds, in place.
func (r *Rules) replace(b []byte, final bool, found func(off, n, rule int)) (settled int) {
	return r.each(b, final, func(m match) {
		to := r.rules[m.rule].To
		for i, q := 0, m.off+m.char; i < len(to); i, q = i+1, q+m.width {
			b[q] = to[i]
		}
		found(m.off, m.n, m.rule)
	})
}

// Apply returns s with the rules applied.
func (r *Rules) Apply(s string) string {
	b := []byte(s)
	r.replace(b, true, func(_, _, _ int) {})
	return string(b)
}

// in tells whether a rule occurs in b.
func (r *Rules) in(b []byte) bool {
	if len(b) < hashLen {
		return false
	}
	_, ok := r.next(b, 0)
	return ok
}

// each calls f for each match of which all bytes that decide it are in b, and
// returns the number of settled bytes.
func (r *Rules) each(b []byte, final bool, f func(match)) (settled int) {
	// A match that starts below end is decided: the longest one fits.
	end := len(b)
	if !final {
		end = max(0, len(b)-r.maxHold())
	}
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
