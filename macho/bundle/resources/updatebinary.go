package resources

import (
	"bytes"
	"slices"

	"narseal/macho"
)

// binary returns the edits of a binary list. Several values of a list may share one object, which can change only if
// all of them change in the same way.
func (u *Update) binary(list []byte) ([]edit, error) {
	c := &binaryCheck{data: list, uses: map[uint64]int{}}
	if err := c.check(); err != nil {
		return nil, err
	}
	b := &binaryUpdate{Update: u, binaryCheck: c, wanted: map[uint64]*wantedValue{}}
	tables, _ := b.dict(c.top)
	second := slices.ContainsFunc(tables, func(p binaryPair) bool { return p.key == "files2" })
	for _, table := range tables {
		u.read = (table.key == "files2") == second
		if table.key != "files" && table.key != "files2" {
			continue
		}
		entries, _ := b.dict(table.value)
		for _, e := range entries {
			if err := b.entry(e.key, e.value); err != nil {
				return nil, err
			}
		}
	}
	return b.edits()
}

type binaryUpdate struct {
	*Update
	*binaryCheck
	wanted map[uint64]*wantedValue // by the number of the object
}

// wantedValue is the new value of an object.
type wantedValue struct {
	data    []byte
	uses    int  // number of values that need it
	differs bool // from the old one
}

// bytes returns the contents of an object, if it has this kind.
func (b *binaryUpdate) bytes(index uint64, want byte) (data []byte, ok bool) {
	kind, n, at, err := b.object(index)
	if err != nil || kind != want {
		return nil, false
	}
	return b.data[at : at+n], true
}

// entry collects the changes to an entry.
func (b *binaryUpdate) entry(path string, value uint64) error {
	if old, ok := b.bytes(value, 0x4); ok {
		return b.digestAt(path, macho.SHA1, value, old)
	}
	code := b.nested(path)
	fields, _ := b.dict(value)
	var to renamed
	for _, f := range fields {
		if t := hashKeys[f.key]; t != 0 {
			if old, ok := b.bytes(f.value, 0x4); ok {
				if err := b.digestAt(path, t, f.value, old); err != nil {
					return err
				}
			}
			continue
		}
		if f.key != "requirement" {
			continue
		}
		old, ok := b.bytes(f.value, 0x5)
		if code == nil || !ok {
			continue
		}
		text, names, err := b.requirement(code, old)
		if err != nil {
			return err
		}
		to = names
		if err := b.want(path, f.key, f.value, old, text); err != nil {
			return err
		}
	}
	for _, f := range fields {
		if old, ok := b.bytes(f.value, 0x4); ok && f.key == "cdhash" && code != nil {
			now, _ := codeHash(code, to, old)
			if err := b.want(path, f.key, f.value, old, now); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *binaryUpdate) digestAt(path string, t macho.HashType, index uint64, old []byte) error {
	sum, _ := b.digest(path, t, old)
	return b.want(path, hashNames[t], index, old, sum)
}

// want records the new value of an object of an entry. If now is nil, the object must not change.
func (b *binaryUpdate) want(path, key string, index uint64, old, now []byte) error {
	if now == nil {
		now = old
	}
	w := b.wanted[index]
	if w == nil {
		w = &wantedValue{data: now}
		b.wanted[index] = w
	}
	if !bytes.Equal(w.data, now) {
		return errShared
	}
	w.uses++
	if !bytes.Equal(old, now) {
		w.differs = true
		b.change(path, key)
	}
	return nil
}

// edits returns the changes, or an error if they would change other values, too.
func (b *binaryUpdate) edits() ([]edit, error) {
	var edits []edit
	for index, w := range b.wanted {
		if !w.differs {
			continue
		}
		if w.uses != b.uses[index] {
			return nil, errShared
		}
		_, _, at, _ := b.object(index)
		edits = append(edits, edit{int64(at), w.data})
	}
	return edits, nil
}
