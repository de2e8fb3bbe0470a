package macho

import (
	"bytes"
	"slices"
)

// runSpecial compares the selected special slots with their content and sets staleSpecial of each selection.
func (h *hasher) runSpecial(g *signature, sels []*selection) error {
	w := worker{hasher: h}
	defer func() { h.hashed.Add(w.done) }()
	sums := map[specialKey][]byte{}
	for _, sel := range sels {
		for _, k := range sel.special {
			d := sel.dir
			content, _ := h.slice.specialContent(g, d, k)
			key := specialKey{content, d.hashType}
			if sums[key] == nil {
				sum, err := w.hashRange(content, d.hashType)
				if err != nil {
					return err
				}
				sums[key] = sum
			}
			at := h.slice.off + d.specialAt(k)
			stored, err := w.read(&w.stored[0], at, d.hashSize)
			if err != nil {
				return err
			}
			if bytes.Equal(stored, sums[key]) {
				continue
			}
			sel.staleSpecial = append(sel.staleSpecial, k)
			if h.write {
				if err := writeFull(h.image, sums[key], at); err != nil {
					return err
				}
			}
		}
		slices.Sort(sel.staleSpecial)
	}
	return nil
}

type specialKey struct {
	content  Range
	hashType HashType
}

// hashRange returns the hash of a range of the slice.
func (w *worker) hashRange(r Range, t HashType) ([]byte, error) {
	sum := t.New()
	for pos := r.Off; pos < r.end(); {
		data, err := w.read(&w.data, w.slice.off+pos, min(r.end()-pos, batchSize))
		if err != nil {
			return nil, err
		}
		sum.Write(data)
		pos += int64(len(data))
	}
	w.done += r.Len
	return sum.Sum(nil)[:t.size()], nil
}
