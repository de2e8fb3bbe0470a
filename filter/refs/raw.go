package refs

import (
	"cmp"
	"io"
	"slices"
	"sort"
)

// A rawSearch searches the raw bytes of a hidden layer that are not part of a member: names and comments in headers,
// and bytes before an archive, between its members and after it.
type rawSearch struct {
	r      io.Reader
	scan   Scanner
	buf    []byte
	off    int64 // of the end of buf in the layer
	paused bool  // the current bytes belong to a member, which is searched separately

	// Found is not called for references that were already found in a name, or that lie in a hole.
	names map[foundName]bool
	holes []hole
}

// foundName is a reference in the name or the target of a member.
type foundName struct {
	base string
	hash int
}

// A hole is a part of a layer that is searched as a member or as a member's name.
type hole struct{ start, end int64 }

const (
	rawBuffer = 64 << 10
	maxHoles  = 1 << 16
)

// newRawSearch returns a rawSearch for the layer l. It is a reader that passes on the bytes of r.
func (u *Unpacker) newRawSearch(r io.Reader, l layer) *rawSearch {
	s := &rawSearch{r: r, names: map[foundName]bool{}}
	s.scan = Scanner{StoreDir: u.scan.StoreDir, Encodings: u.scan.Encodings, Hashes: u.scan.Hashes, member: l.member, packed: l.packed}
	s.scan.Found = func(ref *Reference) error {
		if s.names[foundName{string(ref.Base), ref.Hash}] || s.inHole(ref) {
			return nil
		}
		return u.scan.Found(ref)
	}
	s.scan.begin(u.path, InContents)
	return s
}

// Read reads from the layer, and searches the bytes.
func (s *rawSearch) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.add(p[:n])
	return n, err
}

// add searches the next bytes of the layer.
func (s *rawSearch) add(p []byte) {
	s.off += int64(len(p))
	for !s.paused && len(p) > 0 {
		n := min(len(p), rawBuffer)
		s.buf = append(s.buf, p[:n]...)
		p = p[n:]
		if len(s.buf) >= rawBuffer {
			settled := s.scan.window(s.buf, false)
			s.buf = s.buf[:copy(s.buf, s.buf[settled:])]
		}
	}
}

// flush searches the rest of the buffer.
func (s *rawSearch) flush() {
	s.scan.window(s.buf, true)
	s.buf = s.buf[:0]
	clear(s.names)
}

// pause suspends the search before the contents of a member.
func (s *rawSearch) pause() {
	if s != nil {
		s.flush()
		s.paused = true
	}
}

// resume continues the search after the contents of a member.
func (s *rawSearch) resume() {
	if s != nil {
		s.paused = false
		s.scan.base, s.scan.paths, s.scan.hashes = s.off, s.off, s.off
	}
}

// rest reads and searches the rest of the layer.
func (s *rawSearch) rest() error {
	_, err := io.Copy(io.Discard, struct{ io.Reader }{s})
	s.flush()
	return err
}

// addHole adds a hole. References in a hole that is not recorded are reported twice.
func (s *rawSearch) addHole(start, end int64) {
	if s != nil && len(s.holes) < maxHoles {
		s.holes = append(s.holes, hole{start, end})
	}
}

// sortHoles prepares inHole.
func (s *rawSearch) sortHoles() {
	slices.SortFunc(s.holes, func(a, b hole) int { return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(b.end, a.end)) })
}

// inHole reports whether a reference is in a hole. Holes overlap only in a malicious archive.
func (s *rawSearch) inHole(ref *Reference) bool {
	i := sort.Search(len(s.holes), func(i int) bool { return s.holes[i].start > ref.Offset }) - 1
	if i < 0 {
		return false
	}
	n := len(s.scan.StoreDir) + 1 + len(ref.Base)
	if ref.Base == nil {
		n = len(s.scan.Hashes.Rule(ref.Hash).From)
	}
	return ref.Offset+int64((n-1)*ref.Encoding.Width())+1 <= s.holes[i].end
}
