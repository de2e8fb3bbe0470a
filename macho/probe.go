package macho

import "errors"

// Verdict is what Probe can tell of a file.
type Verdict int

const (
	// NeedMore: the prefix does not tell yet.
	NeedMore Verdict = iota
	// Unsigned: no Mach-O image, or no slice of it has a code signature. There
	// is nothing to verify or repair.
	Unsigned
	// Signed: a slice has a code signature, be it well-formed or not.
	Signed
)

// Probe tells from the first bytes of a file of size bytes whether it carries a
// code signature. On NeedMore, need is the length of the prefix to call it with
// again: more than len(prefix), at most size, and never past the load commands
// of the last slice. Otherwise need is 0.
//
// An image is Signed when a slice has an LC_CODE_SIGNATURE among those load
// commands that can be read. Slices that are no Mach-O image, like those of a fat
// static library, are unsigned.
func Probe(prefix []byte, size int64) (v Verdict, need int64) {
	if int64(len(prefix)) > size {
		prefix = prefix[:size]
	}
	src := &prefixSource{prefix: prefix, total: size}
	all, err := parseContainer(src)
	if err != nil {
		return NeedMore, src.need
	}
	for _, s := range byOffset(all) {
		err := s.readHeader(src, true)
		if s.signed() {
			return Signed, 0
		}
		if err != nil {
			// Ask for more than the next command, lest a long row of small ones
			// be read as often as there are commands.
			ahead := min(2*int64(len(prefix)), s.off+min(s.commands.end, s.size))
			return NeedMore, max(src.need, ahead)
		}
	}
	return Unsigned, 0
}

// FixedPrefix tells from the first bytes of a Signed file of size bytes how many bytes
// at its start no Repair will change: those before the signature of a thin image.
// It is 0 for a fat file, where each slice has a signature, and where the prefix
// does not hold all load commands.
func FixedPrefix(prefix []byte, size int64) int64 {
	src := &prefixSource{prefix: prefix[:min(int64(len(prefix)), size)], total: size}
	all, err := parseContainer(src)
	if err != nil || len(all) != 1 || all[0].off != 0 {
		return 0
	}
	s := all[0]
	if err := s.readHeader(src, true); err != nil || !s.thin || s.commands.signatures != 1 {
		return 0
	}
	return max(0, min(s.commands.sigOff, size))
}

// signed tells whether a slice may carry a signature, be it well-formed or not.
// What a slice of a lying table hides behind the beginning of the next one
// cannot be seen, so that it counts as signed.
func (s *slice) signed() bool {
	return s.commands.signatures > 0 || s.thin && s.fault != "" && s.commands.fault != ""
}

var errNeedMore = errors.New("macho: prefix too short to tell")

// prefixSource is a file of which only the first bytes are there.
type prefixSource struct {
	prefix []byte
	total  int64
	need   int64 // length of the prefix that the last errNeedMore asks for
}

func (p *prefixSource) size() int64 { return p.total }

func (p *prefixSource) at(off int64, n int) ([]byte, error) {
	if off < 0 || off > p.total-int64(n) {
		return nil, errOutside
	}
	if end := off + int64(n); end > int64(len(p.prefix)) {
		p.need = end
		return nil, errNeedMore
	}
	return p.prefix[off : off+int64(n)], nil
}
