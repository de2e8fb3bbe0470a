package rules

// How to find a hash part without examining every byte.
//
// A gram is 8 bytes at some position. Among positions that are sampleStep apart, the first one at or after the start of
// a hash part has its gram wholly inside the hash part, in every encoding. So the search examines only these samples,
// and finds a hash part that starts between two samples at the second one. If a sample passes the quick tests below,
// each place where a hash part can contain it is checked against whole hash parts.
const (
	gramLen    = 8
	sampleStep = hashLen - gramLen + 1

	// The search tests four samples at a time, at these offsets in a block.
	sample1  = sampleStep - 1
	sample2  = sample1 + sampleStep
	sample3  = sample2 + sampleStep
	sample4  = sample3 + sampleStep
	blockLen = 4 * sampleStep
	blockEnd = sample4 + gramLen
)

// A match is one occurrence of a rule.
type match struct {
	off, n int // its bytes, b[off:off+n]
	rule   int
	width  int // bytes per character
	char   int // the index of the nonzero byte in a character
}

// next returns the first match in b that starts at from or later. If several start at the same offset, it returns the
// longest.
func (r *Set) next(b []byte, from int) (m match, ok bool) {
	settled := from // no match starts before it
	for base := from; base < len(b); base += blockLen {
		if r.many {
			base = skipMany(b, base, r.grams, r.pairs)
		} else {
			base = skipFew(b, base, r.grams)
		}
		for p := base + sample1; p <= base+sample4 && p+gramLen <= len(b); p += sampleStep {
			w := le64(b[p:])
			if p < settled {
				continue
			}
			if !r.many && !r.grams.has(w) {
				continue
			}
			if kind := r.pairs.kind(w) & r.kinds; kind > kindUTF8 {
				shape, to := kind.shape(), 0
				if m, to, ok = r.sampleWide(b, p+shape.first, from, shape.enc.Width()); ok {
					return m, true
				}
				settled = max(settled, to)
			} else if kind == kindUTF8 {
				if m, ok = r.sample(b, p, from, w); ok {
					return m, true
				}
			}
		}
	}
	return match{}, false
}

// skipFew returns the start of the first block, at base or a multiple of blockLen after it, that has a sample in grams
// or extends beyond the end of b.
func skipFew(b []byte, base int, grams gramSet) int {
	for ; len(b)-base >= blockEnd; base += blockLen {
		s := b[base : base+blockEnd : base+blockEnd]
		if grams.likely(le64(s[sample1:])) || grams.likely(le64(s[sample2:])) ||
			grams.likely(le64(s[sample3:])) || grams.likely(le64(s[sample4:])) {
			break
		}
	}
	return base
}

// skipMany is like skipFew, for a set that is too full to be selective or too large for a cache. It looks up a sample
// only if it can be a gram of some hash part. A sample that can be a gram in a wide encoding is always a hit.
func skipMany(b []byte, base int, grams gramSet, pairs *pairTable) int {
	for hit := false; len(b)-base >= blockEnd; base += blockLen {
		s := b[base : base+blockEnd : base+blockEnd]
		if pairs.likely(le64(s[sample1:])) != 0 || pairs.likely(le64(s[sample2:])) != 0 ||
			pairs.likely(le64(s[sample3:])) != 0 || pairs.likely(le64(s[sample4:])) != 0 {
			if base, hit = lookCloser(b, base, &grams, pairs); hit {
				break
			}
		}
	}
	return base
}

// lookCloser reports whether the block of b at base, or one of the blocks after it that skipDense tests, has a sample
// that skipMany looks for. It returns the last block that was tested. It is not inlined, so that skipMany's loop keeps
// its variables in registers.
//
//go:noinline
func lookCloser(b []byte, base int, grams *gramSet, pairs *pairTable) (last int, hit bool) {
	s := b[base : base+blockEnd : base+blockEnd]
	w1, w2, w3, w4 := le64(s[sample1:]), le64(s[sample2:]), le64(s[sample3:]), le64(s[sample4:])
	k1, k2, k3, k4 := pairs.kind(w1), pairs.kind(w2), pairs.kind(w3), pairs.kind(w4)
	if k1|k2|k3|k4 == kindUTF8 && k1+k2+k3+k4 > kindUTF8 {
		return skipDense(b, base, grams)
	}
	return base, k1 != 0 && sampleHas(b, base+sample1, k1, grams, pairs) ||
		k2 != 0 && sampleHas(b, base+sample2, k2, grams, pairs) ||
		k3 != 0 && sampleHas(b, base+sample3, k3, grams, pairs) ||
		k4 != 0 && sampleHas(b, base+sample4, k4, grams, pairs)
}

// denseBlocks is the number of blocks that skipDense tests.
const denseBlocks = 16

// skipDense is like lookCloser, for text that consists mostly of characters of hash parts, where testing the neighbors
// of a sample rejects little. It looks up all samples of up to denseBlocks blocks. It ends at a sample with a zero
// byte, which may be text in a wide encoding.
func skipDense(b []byte, base int, grams *gramSet) (last int, hit bool) {
	for n := 0; n < denseBlocks && len(b)-base >= blockEnd; n++ {
		s := b[base : base+blockEnd : base+blockEnd]
		w1, w2, w3, w4 := le64(s[sample1:]), le64(s[sample2:]), le64(s[sample3:]), le64(s[sample4:])
		// This sets the high bit of each byte that is 0, and of some others.
		if n > 0 && ((w1-ones)&^w1|(w2-ones)&^w2|(w3-ones)&^w3|(w4-ones)&^w4)&(0x80*ones) != 0 {
			break
		}
		// The CPU can run these four lookups in parallel.
		m1, m2, m3, m4 := grams.missing(w1), grams.missing(w2), grams.missing(w3), grams.missing(w4)
		if m1 == 0 && hasNeighbor(b, base+sample1, grams) || m2 == 0 && hasNeighbor(b, base+sample2, grams) ||
			m3 == 0 && hasNeighbor(b, base+sample3, grams) || m4 == 0 && hasNeighbor(b, base+sample4, grams) {
			return base, true
		}
		base += blockLen
	}
	return base - blockLen, false
}

// hasNeighbor reports whether the gram before or after the one at p is in the set, too. A hash part around a gram
// contains one of them.
func hasNeighbor(b []byte, p int, grams *gramSet) bool {
	return grams.has(le64(b[p-gramLen:])) || p+2*gramLen > len(b) || grams.has(le64(b[p+gramLen:]))
}

// sampleHas reports whether the sample at p, of kind k, is one that skipMany looks for. A hash part has at least 24
// more characters around a gram, so the gram before or after it has the same kind.
func sampleHas(b []byte, p int, k gramKind, grams *gramSet, pairs *pairTable) bool {
	if pairs.kind(le64(b[p-gramLen:]))&k == 0 &&
		(p+2*gramLen > len(b) || pairs.kind(le64(b[p+gramLen:]))&k == 0) {
		return false
	}
	return k != kindUTF8 || grams.has(le64(b[p:]))
}

// sample returns the first match with one byte per character that starts at from or later, within the sampleStep bytes
// up to p. w is the gram at p.
func (r *Set) sample(b []byte, p, from int, w uint64) (m match, ok bool) {
	if !r.grams.has(w) {
		return match{}, false
	}
	first, last := r.places(b, p, from)
	if first > last {
		return match{}, false
	}
	for s := first; s <= last; s++ {
		set := r.windows
		if end := s + hashLen; r.bare != nil && (end == len(b) || b[end] != '-') {
			set = r.bare // the other hash parts are only rules together with a name
		}
		if !set.has(windowHash(b[s:])) {
			continue
		}
		if rule, ok := r.lookup(b[s:]); ok {
			return match{off: s, n: len(r.rules[rule].From), rule: rule, width: 1}, true
		}
	}
	return match{}, false
}

// places returns the range of offsets where a hash part that contains the gram at p can start. The grams before and
// after it narrow the range.
func (r *Set) places(b []byte, p, from int) (first, last int) {
	first, last = max(from, p-(sampleStep-1)), min(p, len(b)-hashLen)
	if q := p - gramLen; q < from || !r.grams.has(le64(b[q:])) {
		first = max(first, q+1)
	}
	if q := p + gramLen; q+gramLen > len(b) || !r.grams.has(le64(b[q:])) {
		last = min(last, q-sampleStep)
	}
	return first, last
}
