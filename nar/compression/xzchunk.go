package compression

import "errors"

// xzChunks checks a rule in the data of a block that the library does not check: the data of a range coder begins with
// a zero byte, as liblzma requires.
type xzChunks struct {
	head  [7]byte // the bytes of the current chunk's head that have arrived
	n     int     // bytes in head
	skip  int64   // bytes until the next or the first chunk
	ended bool    // there is nothing more to check
}

var errXzRangeCoder = errors.New("xz: the data of a chunk does not begin with 0")

// check checks the next bytes of the block.
func (c *xzChunks) check(b []byte) error {
	for len(b) > 0 && !c.ended {
		if c.skip > 0 {
			n := min(c.skip, int64(len(b)))
			c.skip -= n
			b = b[n:]
			continue
		}
		c.head[c.n] = b[0]
		c.n++
		b = b[1:]
		size := func(at int) int64 { return int64(c.head[at])<<8 | int64(c.head[at+1]) + 1 }
		switch kind := c.head[0]; {
		case kind == 0 || kind > 2 && kind < 0x80:
			c.ended = true
		case kind <= 2:
			if c.n == 3 {
				c.skip, c.n = size(1), 0
			}
		case c.n == 6 && kind < 0xc0 || c.n == 7:
			if c.head[c.n-1] != 0 {
				return errXzRangeCoder
			}
			c.skip, c.n = size(3)-1, 0
		}
	}
	return nil
}
