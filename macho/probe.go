package macho

import (
	"errors"
	"slices"
)

// Verdict is the result of Probe.
type Verdict int

const (
	// NeedMore: the prefix is too short to tell.
	NeedMore Verdict = iota
	// Unsigned: the file is not a Mach-O image, or none of its slices has a code signature. There is nothing to verify or
	// repair.
	Unsigned
	// Signed: a slice has a code signature, well-formed or not, or Verify calls it malformed.
	Signed
)

// Probe determines from the first bytes of a file of size bytes whether it has a code signature. If the verdict is
// NeedMore, call Probe again with a prefix of need bytes: more than len(prefix), at most size, and never past the load
// commands of the last slice. Otherwise need is 0. All calls together parse a few times the bytes of the last prefix.
//
// An image is Signed if a slice has an LC_CODE_SIGNATURE among those load commands that can be read, or if the table of a
// fat image describes its slices wrongly, as after a cut. Slices that are not Mach-O images, as in a fat static library,
// are unsigned.
func Probe(prefix []byte, size int64) (v Verdict, need int64) {
	if int64(len(prefix)) > size {
		prefix = prefix[:size]
	}
	src := &prefixSource{prefix: prefix, total: size}
	all, err := parseContainer(src)
	if err != nil {
		return NeedMore, src.need
	}
	order := byOffset(all)
	for i, s := range order {
		err := s.readHeader(src, true)
		if s.signed() {
			return Signed, 0
		}
		if err == nil {
			continue
		}
		// Ask for more than the next command: each call parses the prefix from its start.
		more := 2 * int64(len(prefix))
		if i < manySlices {
			more = min(more, s.off+min(s.commands.end, s.size))
		} else {
			more = min(more, max(s.off+min(s.commands.end, s.size), order[len(order)-1].off))
		}
		return NeedMore, max(src.need, more)
	}
	if len(all) > 0 && all[0].inTable && slices.ContainsFunc(newReport(all).Slices, func(s Slice) bool { return !s.Status.OK() }) {
		return Signed, 0
	}
	return Unsigned, 0
}

// manySlices is how many slices Probe asks for one at a time, which needs the shortest prefix. Real images have at most
// five.
const manySlices = 8

// FixedPrefix returns how many bytes at the start of a Signed file of size bytes no repair changes: those before the
// signature of a thin image. It returns 0 for a fat file, where each slice has a signature, and if prefix does not
// contain all load commands.
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

// UnsignedSlices returns the slices that need a signature but have none, as Verify would report them. Probe must have
// returned Unsigned for this prefix and size.
func UnsignedSlices(prefix []byte, size int64) []Slice {
	if !mayNeedSignature(prefix) {
		return nil
	}
	src := &prefixSource{prefix: prefix[:min(int64(len(prefix)), size)], total: size}
	all, err := parseContainer(src)
	for _, s := range all {
		if err == nil {
			err = s.readHeader(src, true)
		}
	}
	if err != nil {
		return nil // Probe has not returned Unsigned
	}
	return slices.DeleteFunc(newReport(all).Slices, func(s Slice) bool { return s.OK() })
}

// mayNeedSignature reports whether an image may need a signature. For most images the header answers that.
func mayNeedSignature(prefix []byte) bool {
	if len(prefix) < 16 {
		return false
	}
	order, _, thin := thinMagic(prefix)
	c := commands{}
	if thin {
		c.fileType = order.Uint32(prefix[12:])
	}
	return !thin || order.Uint32(prefix[4:]) == cpuARM64 && c.loadable()
}

// signed reports whether a slice may have a signature, well-formed or not. A slice that was cut because of a malformed fat
// table may have one in the part that was cut off, so it counts as signed.
func (s *slice) signed() bool {
	return s.commands.signatures > 0 || s.thin && s.fault != "" && s.commands.fault != ""
}

var errNeedMore = errors.New("macho: prefix too short to tell")

// prefixSource is a file of which only the first bytes are known.
type prefixSource struct {
	prefix []byte
	total  int64
	need   int64 // length of the prefix that the last errNeedMore needs
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
