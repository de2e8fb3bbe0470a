package machotest

import (
	"encoding/binary"
	"slices"
)

// Slice is a slice of a fat image.
type Slice struct {
	CPU    uint32
	Sub    uint32 // cpusubtype
	Data   []byte
	Layout *Layout // nil if Data is no signed image; Fat sets its Offset
}

// Fat returns a fat image of slices, with fat64 one with 64-bit offsets. With unordered, the first record of the table
// is the last slice in the file.
func Fat(fat64, unordered bool, all ...Slice) []byte {
	return fatAligned(14, fat64, unordered, all...) // as arm64 needs it
}

// fatAligned is Fat with slices at multiples of 1<<align.
func fatAligned(align int, fat64, unordered bool, all ...Slice) []byte {
	be := binary.BigEndian
	magic, record := uint32(0xcafebabe), 20
	if fat64 {
		magic, record = 0xcafebabf, 32
	}
	end := 8 + record*len(all)
	table := make([][]byte, len(all))
	var body []byte
	for i, s := range all {
		pad := -(end + len(body)) & (1<<align - 1)
		body = append(body, make([]byte, pad)...)
		off := end + len(body)
		if s.Layout != nil {
			s.Layout.Offset = int64(off)
		}
		r := be.AppendUint32(be.AppendUint32(nil, s.CPU), s.Sub)
		if fat64 {
			r = be.AppendUint64(be.AppendUint64(r, uint64(off)), uint64(len(s.Data)))
			r = be.AppendUint32(be.AppendUint32(r, uint32(align)), 0)
		} else {
			r = be.AppendUint32(be.AppendUint32(r, uint32(off)), uint32(len(s.Data)))
			r = be.AppendUint32(r, uint32(align))
		}
		table[i] = r
		body = append(body, s.Data...)
	}
	if unordered {
		slices.Reverse(table)
	}
	b := be.AppendUint32(be.AppendUint32(nil, magic), uint32(len(all)))
	return append(append(b, slices.Concat(table...)...), body...)
}
