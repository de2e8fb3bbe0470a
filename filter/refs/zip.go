package refs

import (
	"archive/zip"
	"bufio"
	"bytes"
	"cmp"
	"compress/flate"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"
	"strings"

	"narseal/filter/spill"
)

// maxZip is the size in bytes of the largest zip archive that is searched.
const maxZip = 256 << 20

// zip searches the members of a zip archive, which needs random access.
func (u *Unpacker) zip(r io.Reader, l layer) {
	if err := u.memory.take(zipMemory); err != nil {
		u.warn(l, err)
		return
	}
	defer u.memory.give(zipMemory)
	o := u.Spill
	o.Memory = min(o.Limit(), u.memory.left)
	if o.Open != nil {
		o.Memory /= 2 // the rest is for its members
	}
	o.Memory = max(1, o.Memory)
	h := spill.NewBuffer(o)
	defer h.Close()
	err := u.hold(h, r)
	kept := h.Memory() // at most the rest of the budget
	u.memory.left -= kept
	defer func() {
		h.Close()
		u.memory.give(kept)
		u.freedArchive(kept)
	}()
	var raw *rawSearch
	if l.hidden {
		raw = u.newRawSearch(io.NewSectionReader(h, 0, h.Size()), l)
	}
	if err == nil {
		err = u.members(h, raw, l)
	}
	if err != nil {
		u.warn(l, err)
	}
	if raw != nil {
		raw.sortHoles()
		if err := raw.rest(); err != nil {
			u.warn(l, err)
		}
	}
}

// hold reads all of r into h.
func (u *Unpacker) hold(h *spill.Buffer, r io.Reader) error {
	buf := make([]byte, 64<<10)
	memory := h.Memory()
	for {
		n, err := r.Read(buf)
		if h.Size()+int64(n) > maxZip {
			return limitError(fmt.Sprintf("a zip archive of more than %d bytes", maxZip))
		}
		if kept := h.Append(buf[:n], maxZip); kept != nil {
			if u.Spill.Open == nil {
				kept = limitError(kept.Error())
			}
			return kept
		}
		if m := h.Memory(); m != memory { // the buffer has grown, or moved to a file
			u.freedArchive(memory)
			memory = m
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// members searches the members of a zip archive, in the order of its directory.
func (u *Unpacker) members(h *spill.Buffer, raw *rawSearch, l layer) error {
	z, err := openZip(h, h.Size())
	if err != nil {
		return err
	}
	in := zipReader{h: h, size: h.Size(), inflate: flate.NewReader(nil), deflated: bufio.NewReader(nil)}
	for u.left >= 0 {
		f, err := z.next()
		if err == io.EOF {
			return in.unlisted(z.start)
		}
		if err != nil {
			return err
		}
		m := l.inside("!"+f.name, "zip", f.method != zip.Store)
		if l.hidden { // otherwise the name is not compressed
			u.searchName(InName, f.name, m, nil)
		}
		raw.addHole(f.nameAt, f.nameAt+int64(len(f.name)))
		if err := u.member(&in, f, raw, m); err != nil {
			u.warn(m, err)
		}
	}
	return &u.over
}

// member searches a member.
func (u *Unpacker) member(in *zipReader, f *zipMember, raw *rawSearch, m layer) error {
	data, err := in.find(f)
	if err != nil {
		return err
	}
	if data.sameName {
		raw.addHole(data.nameAt, data.nameAt+int64(len(f.name)))
	}
	if (f.flags|data.flags)&zipEncrypted != 0 && f.packed > 0 {
		return errors.New("encrypted")
	}
	if data.differs(f) {
		return errHeadersDiffer
	}
	if f.packed == 0 {
		return nil
	}
	var plain io.Reader = io.NewSectionReader(in.h, data.start, int64(f.packed))
	checked := &zipChecker{f: f}
	switch f.method {
	case zip.Store:
	case zip.Deflate:
		in.deflated.Reset(plain)
		if err := in.inflate.(flate.Resetter).Reset(in.deflated, nil); err != nil {
			return err
		}
		plain = in.inflate
		checked.deflated = in.deflated
	case 12, 20, 93, 95: // bzip2, zstd (twice) and xz: APPNOTE.TXT 4.4.5
		dec, _, err := u.decompress(plain)
		if err != nil {
			return err
		}
		defer dec.Close()
		plain = dec
	default:
		return zip.ErrAlgorithm
	}
	checked.r = plain
	_ = u.unpack(checked, func() int64 { return int64(f.packed) }, m) // it has warned
	if f.method == zip.Store && checked.ended {
		raw.addHole(data.start, data.start+checked.n)
	}
	return nil
}

// zipReader reads the members of a zip archive in turn.
type zipReader struct {
	h        io.ReaderAt
	size     int64
	inflate  io.ReadCloser
	deflated *bufio.Reader // from which inflate reads no more than it needs
	name     []byte
	seen     []hole // positions of the members found
	many     bool   // more than fit into seen
}

// zipData is the position of a member's contents, and what its local header says.
type zipData struct {
	start    int64
	nameAt   int64
	sameName bool // as in the directory

	flags, method    uint16
	packed, unpacked uint64
}

// Flags of members.
const (
	zipEncrypted = 1 << 0
	zipStreamed  = 1 << 3 // the sizes follow the contents, and are 0 in the local header
)

// errHeadersDiffer is about a member whose contents depend on the program that reads them: a program that reads an
// archive from its start takes other contents than one that reads the directory.
var errHeadersDiffer = errors.New("its two headers differ")

// differs reports whether a program that reads only the local header can take other bytes for the contents than f says.
func (d *zipData) differs(f *zipMember) bool {
	streamed := d.flags&zipStreamed != 0
	same := func(local, listed uint64) bool { return local == listed || streamed && local == 0 }
	if d.method != f.method || !same(d.packed, f.packed) || !same(d.unpacked, f.unpacked) {
		return true
	}
	// Contents that are packed take a few bytes, even if there are none, and some programs look for their end. Only some
	// directories have none.
	directory := d.sameName && strings.HasSuffix(f.name, "/") && !streamed
	return f.method != zip.Store && f.packed == 0 && !directory
}

// find reads the local header of a member.
func (z *zipReader) find(f *zipMember) (d zipData, err error) {
	const header = 30
	var b [header]byte
	if f.offset > z.size-header {
		return d, zip.ErrFormat
	}
	if _, err := z.h.ReadAt(b[:], f.offset); err != nil {
		return d, err
	}
	if string(b[:4]) != zipLocal {
		return d, zip.ErrFormat
	}
	name, extra := int(le16(b[26:])), int(le16(b[28:]))
	d.nameAt = f.offset + header
	d.start = d.nameAt + int64(name+extra)
	if d.start > z.size || f.packed > uint64(z.size-d.start) {
		return d, io.ErrUnexpectedEOF
	}
	z.see(f.offset, d.start+int64(f.packed))
	if err := z.sizes(&d, b[:], d.nameAt+int64(name), extra); err != nil {
		return d, err
	}
	if name != len(f.name) {
		return d, nil
	}
	z.name = append(z.name[:0], f.name...)
	if _, err := z.h.ReadAt(z.name, d.nameAt); err != nil {
		return d, err
	}
	d.sameName = string(z.name) == f.name
	return d, nil
}

// sizes sets the flags, the method and the sizes of a local header, which has extra bytes at an offset.
func (z *zipReader) sizes(d *zipData, header []byte, at int64, extra int) error {
	d.flags, d.method = le16(header[6:]), le16(header[8:])
	local := zipMember{packed: uint64(le32(header[18:])), unpacked: uint64(le32(header[22:]))}
	if local.packed == math.MaxUint32 || local.unpacked == math.MaxUint32 {
		b := make([]byte, extra)
		if _, err := z.h.ReadAt(b, at); err != nil {
			return err
		}
		local.zip64(b, new(uint64))
	}
	d.packed, d.unpacked = local.packed, local.unpacked
	return nil
}

// see records the position of a member.
func (z *zipReader) see(start, end int64) {
	const descriptor = 24 // maximum number of bytes between members
	switch n := len(z.seen); {
	case n > 0 && z.seen[n-1].start <= start && start <= z.seen[n-1].end+descriptor:
		z.seen[n-1].end = max(z.seen[n-1].end, end)
	case n < maxHoles:
		z.seen = append(z.seen, hole{start, end})
	default:
		z.many = true
	}
}

// unlisted returns an error if there is a member before the directory that the directory does not list, because some
// programs extract such members.
func (z *zipReader) unlisted(directory int64) error {
	if z.many {
		return limitError(fmt.Sprintf("a zip archive with more than %d members that are not adjacent", maxHoles))
	}
	slices.SortFunc(z.seen, func(a, b hole) int { return cmp.Compare(a.start, b.start) })
	at := int64(0)
	for _, s := range append(z.seen, hole{directory, directory}) {
		if off, err := findIn(z.h, at, s.start, zipLocal); off >= 0 || err != nil {
			return cmp.Or(err, fmt.Errorf("a member at byte %d that its directory does not list", off))
		}
		at = max(at, s.end)
	}
	return nil
}

// findIn returns the offset of text between two others, or -1.
func findIn(r io.ReaderAt, from, to int64, text string) (int64, error) {
	buf := make([]byte, min(64<<10, max(0, to-from)))
	for from+int64(len(text)) <= to {
		n := int(min(int64(len(buf)), to-from))
		if _, err := r.ReadAt(buf[:n], from); err != nil && err != io.EOF {
			return -1, err
		}
		if i := bytes.Index(buf[:n], []byte(text)); i >= 0 {
			return from + int64(i), nil
		}
		from += int64(n - len(text) + 1)
	}
	return -1, nil
}

// zipChecker compares the contents of a member with the directory.
type zipChecker struct {
	r        io.Reader
	deflated *bufio.Reader // of r, or nil
	f        *zipMember
	n        int64
	crc      uint32
	ended    bool
}

func (z *zipChecker) Read(p []byte) (int, error) {
	n, err := z.r.Read(p)
	z.n += int64(n)
	z.crc = crc32.Update(z.crc, crc32.IEEETable, p[:n])
	if err != io.EOF {
		return n, err
	}
	z.ended = true
	switch {
	case uint64(z.n) < z.f.unpacked:
		return n, io.ErrUnexpectedEOF
	case z.crc != z.f.crc:
		return n, zip.ErrChecksum
	case uint64(z.n) > z.f.unpacked:
		return n, zip.ErrFormat
	}
	if z.deflated != nil {
		if _, more := z.deflated.Peek(1); more == nil { // other programs look for the next member here
			return n, errors.New("its contents end before their packed size")
		}
	}
	return n, io.EOF
}
