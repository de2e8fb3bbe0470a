package machotest

import (
	"encoding/binary"
	"slices"
)

// encode returns the CodeDirectory of code. Offsets in the layout count from its start.
func (d Directory) encode(code []byte, special map[int][]byte) ([]byte, DirectoryLayout) {
	limit := len(code)
	l := DirectoryLayout{Slot: d.Slot, HashSize: int64(len(digest(d.HashType, nil))), Special: map[int]bool{}}
	size := limit
	if d.PageShift != 0 {
		size = 1 << d.PageShift
	}
	count := (limit + size - 1) / size
	scatter := d.Scatter
	if scatter == nil {
		scatter = [][2]uint32{{uint32(count), 0}}
	}
	for _, s := range scatter {
		for page := int(s[1]); page < int(s[0]+s[1]); page++ {
			l.Pages = append(l.Pages, Page{page, len(l.Pages), int64(page * size), int64(min(limit, (page+1)*size))})
		}
	}
	for k := range special {
		d.Special = max(d.Special, k)
	}

	be := binary.BigEndian
	b := make([]byte, headerLen(d.Version))
	put := func(off int, v int64) { be.PutUint32(b[off:], uint32(v)) }
	add := func(off int, data []byte) {
		put(off, int64(len(b)))
		b = append(b, data...)
	}
	put(0, 0xfade0c02)
	put(8, int64(d.Version))
	put(12, int64(d.Flags))
	put(24, int64(d.Special))
	put(28, int64(len(l.Pages)))
	put(32, int64(limit))
	b[36], b[37], b[38], b[39] = byte(l.HashSize), d.HashType, d.Platform, d.PageShift
	add(20, append([]byte(d.Identifier), 0))
	if d.Scatter != nil {
		var list []byte
		for _, s := range append(slices.Clone(d.Scatter), [2]uint32{}) {
			list = be.AppendUint32(be.AppendUint32(list, s[0]), s[1])
			list = append(list, make([]byte, 16)...)
		}
		add(44, list)
	}
	if d.Team != "" {
		add(48, append([]byte(d.Team), 0))
	}
	if d.Limit64 {
		put(32, 0)
		be.PutUint64(b[56:], uint64(limit))
	}
	if d.Linkage != nil {
		b[96] = d.HashType
		add(100, d.Linkage)
		put(104, int64(len(d.Linkage)))
	}

	zeros := make([]byte, l.HashSize)
	for k := d.Special; k > 0; k-- {
		sum := zeros
		if data, ok := special[k]; ok {
			sum = digest(d.HashType, data)
			l.Special[k] = true
		}
		b = append(b, sum...)
	}
	var slots []byte
	for _, p := range l.Pages {
		slots = append(slots, digest(d.HashType, code[p.From:p.To])...)
	}
	l.Hashes = int64(len(b))
	add(16, slots)
	if d.PreEncrypt {
		l.Twin = int64(len(b))
		add(92, slots)
	}
	put(4, int64(len(b)))
	return b, l
}

func headerLen(version uint32) int {
	for _, v := range []struct {
		version uint32
		length  int
	}{{0x20600, 108}, {0x20500, 96}, {0x20400, 88}, {0x20300, 64}, {0x20200, 52}, {0x20100, 48}} {
		if version >= v.version {
			return v.length
		}
	}
	return 44
}
