package resources

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
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

// walkBinary is like walkXML, for a binary property list.
func walkBinary(data []byte, add func(table, key string, value any) error) error {
	if err := checkBinary(data); err != nil {
		return err
	}
	top, err := decode(data)
	if err != nil {
		return err
	}
	dict, ok := top.(map[string]any)
	if !ok {
		return errors.New("it is not a dictionary")
	}
	for _, table := range []string{"files", "files2", "rules", "rules2"} {
		v, present := dict[table]
		if !present {
			continue
		}
		entries, ok := v.(map[string]any)
		if !ok {
			return fmt.Errorf("%s is not a dictionary", table)
		}
		if err := add(table, "", nil); err != nil {
			return err
		}
		for key, value := range entries {
			if key == "" {
				return fmt.Errorf("%s has an empty name", table)
			}
			if err := add(table, string([]byte(key)), value); err != nil {
				return err
			}
		}
	}
	return nil
}

var errBinary = errors.New("the binary property list is damaged")

// binaryCheck checks a binary property list before the library parses it, because the library does not limit the number
// of objects.
type binaryCheck struct {
	data             []byte
	table            uint64 // offset of the offset table
	offSize, refSize int
	objects          uint64
	visits           int
	bytes            int
	uses             map[uint64]int // number of visits of each object; nil: not counted
}

// checkBinary refuses a list that is damaged, is too deep, refers to itself, or expands to many times its size.
func checkBinary(data []byte) error {
	if len(data) < len("bplist00")+binaryTrailer+1 || string(data[:8]) != "bplist00" {
		return errBinary
	}
	t := data[len(data)-binaryTrailer:]
	c := &binaryCheck{
		data: data, offSize: int(t[6]), refSize: int(t[7]),
		objects: binary.BigEndian.Uint64(t[8:]), table: binary.BigEndian.Uint64(t[24:]),
	}
	end := uint64(len(data) - binaryTrailer)
	sizes := func(n int) bool { return n == 1 || n == 2 || n == 4 || n == 8 }
	if !sizes(c.offSize) || !sizes(c.refSize) || c.table < 9 || c.table > end ||
		c.objects == 0 || c.objects != (end-c.table)/uint64(c.offSize) {
		return errBinary
	}
	if err := c.disjoint(); err != nil {
		return err
	}
	return c.visit(binary.BigEndian.Uint64(t[16:]), 1)
}

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
		size := fixedSize(kind, n)
		if size > 16 || c.table-at < size {
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
		if _, ok := c.text(kind, n, at); kind != 0x4 && !ok {
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
		count, keys = 2*n, map[string]bool{}
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
		if !dict || i >= n {
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

// text returns a string, or false if the object is not a valid string. Parsers disagree about bytes beyond ASCII in
// ASCII strings, and about halves of surrogate pairs.
func (c *binaryCheck) text(kind byte, n, at uint64) (s string, ok bool) {
	switch kind {
	case 0x5:
		s = string(c.data[at : at+n])
		return s, isASCII(s)
	case 0x6:
		units := make([]uint16, n)
		for i := range units {
			units[i] = binary.BigEndian.Uint16(c.data[at+2*uint64(i):])
		}
		runes := utf16.Decode(units)
		return string(runes), slices.Equal(utf16.Encode(runes), units)
	}
	return "", false
}
