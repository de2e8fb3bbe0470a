package resources

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf16"
)

// A binary property list (CFBinaryPList.c of CoreFoundation):
//
//	"bplist00"
//	objects            each a byte with kind and length, then the contents; containers refer to others by number
//	offset table       the offset of each object
//	trailer            32 bytes: 6 unused, size of an offset, size of a reference, then three numbers of 8 bytes:
//	                   the number of objects, the top object, the offset of the offset table
const (
	binaryTrailer = 32
	// maxObjects is the maximum number of objects of a list. An object counts once for each reference to it.
	maxObjects = 200_000
)

// walkBinary is like walkXML, for a binary property list. It decodes only single entries.
func walkBinary(data []byte, add func(table, key string, value any) error) error {
	c := &binaryCheck{data: data}
	if err := c.check(); err != nil {
		return err
	}
	tables, ok := c.dict(c.top)
	if !ok {
		return errors.New("it is not a dictionary")
	}
	for _, table := range tables {
		if !isTable(table.key) {
			continue
		}
		entries, ok := c.dict(table.value)
		if !ok {
			return fmt.Errorf("%s is not a dictionary", table.key)
		}
		if err := add(table.key, "", nil); err != nil {
			return err
		}
		for _, e := range entries {
			if e.key == "" {
				return fmt.Errorf("%s has an empty name", table.key)
			}
			if err := add(table.key, e.key, c.value(e.value, true)); err != nil {
				return err
			}
		}
	}
	return nil
}

type binaryPair struct {
	key   string
	value uint64 // number of the object
}

// dict returns the pairs of a dictionary. ok is false if the object is none. The list has already been checked.
func (c *binaryCheck) dict(index uint64) (pairs []binaryPair, ok bool) {
	kind, n, at, err := c.object(index)
	if err != nil || kind != 0xd {
		return nil, false
	}
	pairs = make([]binaryPair, 0, n)
	for i := range n {
		ref, _ := c.number(at+i*c.uint(c.refSize), c.refSize)
		value, _ := c.number(at+(n+i)*c.uint(c.refSize), c.refSize)
		kind, size, from, _ := c.object(ref)
		key, _ := c.text(kind, size, from)
		pairs = append(pairs, binaryPair{key, value})
	}
	return pairs, true
}

// value decodes a value of an entry, or with fields, the entry itself. Values that have no meaning there become empty lists.
func (c *binaryCheck) value(index uint64, fields bool) any {
	kind, n, at, _ := c.object(index)
	switch kind {
	case 0x0:
		return n == 9
	case 0x1:
		if n > 3 || n == 3 && c.data[at] >= 0x80 { // more than 64 bits, or negative
			break
		}
		number, _ := c.number(at, 1<<n)
		return number
	case 0x2:
		if n == 3 {
			return math.Float64frombits(binary.BigEndian.Uint64(c.data[at:]))
		}
	case 0x4:
		return c.data[at : at+n]
	case 0x5, 0x6:
		s, _ := c.text(kind, n, at)
		return s
	case 0xd:
		dict := map[string]any{}
		if fields {
			pairs, _ := c.dict(index)
			for _, p := range pairs {
				dict[p.key] = c.value(p.value, false)
			}
		}
		return dict
	}
	return []any(nil)
}

var errBinary = errors.New("the binary property list is damaged")

// binaryCheck checks a binary property list before it is decoded.
type binaryCheck struct {
	data             []byte
	table            uint64 // offset of the offset table
	top              uint64
	offSize, refSize int
	objects          uint64
	visits           int
	bytes            int
	uses             map[uint64]int // number of visits of each object; nil: not counted
	infoPlist        bool           // dictionaries may repeat keys, and strings be long
}

// check refuses a list that is damaged, is too deep, refers to itself, or expands to many times its size.
func (c *binaryCheck) check() error {
	data := c.data
	if len(data) < len("bplist00")+binaryTrailer+1 || string(data[:8]) != "bplist00" {
		return errBinary
	}
	t := data[len(data)-binaryTrailer:]
	c.offSize, c.refSize = int(t[6]), int(t[7])
	c.objects, c.top, c.table = binary.BigEndian.Uint64(t[8:]), binary.BigEndian.Uint64(t[16:]), binary.BigEndian.Uint64(t[24:])
	end := uint64(len(data) - binaryTrailer)
	sizes := func(n int) bool { return n == 1 || n == 2 || n == 4 || n == 8 }
	if !sizes(c.offSize) || !sizes(c.refSize) || c.table < 9 || c.table > end ||
		c.objects == 0 || c.objects != (end-c.table)/uint64(c.offSize) ||
		!fits(c.objects, c.refSize) || !fits(c.table, c.offSize) {
		return errBinary
	}
	if err := c.disjoint(); err != nil {
		return err
	}
	return c.visit(c.top, 1)
}

// fits reports whether CoreFoundation takes a number for one that has this many bytes.
func fits(n uint64, size int) bool { return size == 8 || n < 1<<(8*size) }

func (c *binaryCheck) number(off uint64, size int) (uint64, bool) {
	if off > c.uint(len(c.data)) || c.uint(len(c.data))-off < c.uint(size) {
		return 0, false
	}
	var n uint64
	for _, b := range c.data[off : off+c.uint(size)] {
		n = n<<8 | uint64(b)
	}
	return n, true
}

func (*binaryCheck) uint(n int) uint64 { return uint64(n) }

// object returns the kind of an object, its length, and the offset of its contents.
func (c *binaryCheck) object(index uint64) (kind byte, n, at uint64, err error) {
	if index >= c.objects {
		return 0, 0, 0, errBinary
	}
	off, ok := c.number(c.table+index*c.uint(c.offSize), c.offSize)
	if !ok || off < 8 || off >= c.table {
		return 0, 0, 0, errBinary
	}
	tag := c.data[off]
	kind, n, at = tag>>4, uint64(tag&15), off+1
	switch kind {
	case 0x0, 0x1, 0x2, 0x3, 0x8: // null and boolean, integer, real, date, UID
		if !isFixed(kind, n) || c.table-at < fixedSize(kind, n) {
			return 0, 0, 0, errBinary
		}
	default:
		if n == 15 {
			if at >= c.table || c.data[at]>>4 != 1 || c.data[at]&15 > 3 {
				return 0, 0, 0, errBinary
			}
			size := 1 << (c.data[at] & 15)
			if n, ok = c.number(at+1, size); !ok {
				return 0, 0, 0, errBinary
			}
			at += 1 + c.uint(size)
		}
	}
	return kind, n, at, nil
}

// visit checks an object and the objects that it refers to.
func (c *binaryCheck) visit(index uint64, level int) error {
	c.visits++
	if err := c.exceeds(0); err != nil {
		return err
	}
	if level > maxLevels {
		return fmt.Errorf("it has more than %d levels", maxLevels)
	}
	if c.uses != nil {
		c.uses[index]++
	}
	kind, n, at, err := c.object(index)
	if err != nil {
		return err
	}
	size := n
	switch kind {
	case 0x0, 0x1, 0x2, 0x3, 0x8:
		return nil
	case 0x4, 0x5: // data, ASCII
	case 0x6: // UTF-16
		size = n * 2
	case 0xa: // array
		size = n * c.uint(c.refSize)
	case 0xd: // dictionary: keys, then values
		size = n * 2 * c.uint(c.refSize)
	default:
		return errBinary
	}
	if n > c.uint(len(c.data)) || at > c.table || c.table-at < size {
		return errBinary
	}
	if kind < 0xa {
		if err := c.exceeds(size); err != nil {
			return err
		}
		if !c.infoPlist && size > maxValue {
			return fmt.Errorf("it has a value of %d bytes, more than %d", size, maxValue)
		}
		if kind != 0x4 && !c.isText(kind, n, at) {
			return errors.New("it has a string that is not text")
		}
		return nil
	}
	return c.container(kind == 0xd, n, at, level)
}

func (c *binaryCheck) container(dict bool, n, at uint64, level int) error {
	count := n
	var keys map[string]bool
	if dict {
		count = 2 * n
	}
	if dict && !c.infoPlist {
		keys = map[string]bool{}
	}
	for i := range count {
		ref, _ := c.number(at+i*c.uint(c.refSize), c.refSize)
		if dict && i < n {
			// A key that is a dictionary would be visited with all of its own keys.
			if kind, _, _, err := c.object(ref); err != nil || kind != 0x5 && kind != 0x6 {
				return errBinary
			}
		}
		if err := c.visit(ref, level+1); err != nil {
			return err
		}
		if keys == nil || i >= n {
			continue
		}
		kind, size, from, err := c.object(ref)
		if err != nil {
			return err
		}
		key, ok := c.text(kind, size, from)
		if !ok {
			return errBinary
		}
		if keys[key] { // maybe in another encoding
			return fmt.Errorf("it has %.100q twice", key)
		}
		keys[key] = true
	}
	return nil
}

// isText reports whether an object is a string. Parsers read ASCII that is none, and halves of surrogate pairs, differently.
func (c *binaryCheck) isText(kind byte, n, at uint64) bool {
	switch kind {
	case 0x5:
		for _, b := range c.data[at : at+n] {
			if b >= 0x80 {
				return false
			}
		}
		return true
	case 0x6:
		open := false // a pair has begun
		for text := c.data[at : at+2*n]; len(text) > 0; text = text[2:] {
			first, second := text[0]&0xfc == 0xd8, text[0]&0xfc == 0xdc
			if second != open {
				return false
			}
			open = first
		}
		return !open
	}
	return false
}

// text returns a string, or false if the object is none.
func (c *binaryCheck) text(kind byte, n, at uint64) (s string, ok bool) {
	switch {
	case !c.isText(kind, n, at):
		return "", false
	case kind == 0x5:
		return string(c.data[at : at+n]), true
	}
	units := make([]uint16, n)
	for i := range units {
		units[i] = binary.BigEndian.Uint16(c.data[at+2*uint64(i):])
	}
	return string(utf16.Decode(units)), true
}
