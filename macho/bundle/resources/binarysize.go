package resources

import "fmt"

// maxShared is the maximum number of bytes of values per byte of a binary list. Writers store equal strings only once,
// but each reference to one takes at least a byte.
const maxShared = 64

// disjoint returns an error if two objects share a byte. Otherwise, a few bytes could be the keys of many dictionaries.
// If no bytes are shared, the memory that readers allocate for a list is bounded by its size.
func (c *binaryCheck) disjoint() error {
	if c.objects > maxObjects {
		return fmt.Errorf("it has more than %d values", maxObjects)
	}
	used := make([]uint64, c.table/64+1) // a bit for each byte before the offset table
	for index := range c.objects {
		off, end, err := c.extent(index)
		if err != nil {
			return err
		}
		for at := off; at < end; at++ {
			if used[at/64]&(1<<(at%64)) != 0 {
				return fmt.Errorf("%w: values overlap at offset %d", errBinary, at)
			}
			used[at/64] |= 1 << (at % 64)
		}
	}
	return nil
}

// extent returns the offsets of the start and end of an object.
func (c *binaryCheck) extent(index uint64) (off, end uint64, err error) {
	kind, n, at, err := c.object(index)
	if err != nil {
		return 0, 0, err
	}
	off, _ = c.number(c.table+index*c.uint(c.offSize), c.offSize)
	size := uint64(0) // size of an element
	switch kind {
	case 0x0, 0x1, 0x2, 0x3, 0x8:
		n = fixedSize(kind, n)
		size = 1
	case 0x4, 0x5:
		size = 1
	case 0x6:
		size = 2
	case 0xa:
		size = c.uint(c.refSize)
	case 0xd:
		size = 2 * c.uint(c.refSize)
	default:
		return 0, 0, errBinary
	}
	if at > c.table || n > c.uint(len(c.data)) || c.table-at < n*size {
		return 0, 0, errBinary
	}
	return off, at + n*size, nil
}

// fixedSize returns the size of an object that is not a string or a container, in bytes after the first one.
func fixedSize(kind byte, n uint64) uint64 {
	switch kind {
	case 0x0:
		return 0
	case 0x3:
		return 8
	case 0x8:
		return n + 1
	}
	return 1 << min(n, 8)
}

// exceeds counts n more bytes of values, and returns an error if the list has too many values for its size. A list
// without shared containers has at most one value for each of its bytes.
func (c *binaryCheck) exceeds(n uint64) error {
	c.bytes += int(n)
	switch {
	case c.visits > maxObjects:
		return fmt.Errorf("it has more than %d values", maxObjects)
	case c.visits > len(c.data):
		return fmt.Errorf("it has more values than bytes (%d)", len(c.data))
	case c.bytes > min(MaxSize, maxShared*len(c.data)):
		return fmt.Errorf("it has more than %d bytes of values", min(MaxSize, maxShared*len(c.data)))
	}
	return nil
}

// isFixed reports whether CoreFoundation knows an object that is not a string or a container, by its kind and length.
func isFixed(kind byte, n uint64) bool {
	switch kind {
	case 0x0: // false and true
		return n == 8 || n == 9
	case 0x2: // of 4 or 8 bytes
		return n == 2 || n == 3
	case 0x3:
		return n == 3
	case 0x8: // of 1, 2 or 4 bytes
		return n == 0 || n == 1 || n == 3
	}
	return n <= 4
}
