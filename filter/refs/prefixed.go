package refs

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
)

// isOldTar reports whether a file begins with the header of a tar archive from before POSIX, which has no magic number.
// It is recognized by its checksum.
func isOldTar(head []byte) bool {
	const size, at, end = 512, 148, 156
	if len(head) < size || head[0] == 0 {
		return false
	}
	sum, err := strconv.ParseInt(strings.Trim(string(head[at:end]), " \x00"), 8, 32)
	if err != nil {
		return false
	}
	want := int64(end-at) * ' ' // the checksum field counts as spaces
	for i, b := range head[:size] {
		if i < at || i >= end {
			want += int64(b)
		}
	}
	return sum == want
}

// A zipTail looks for the end record of a zip file in the data written to it, since a zip file may begin with anything,
// such as a program that unpacks it (APPNOTE.TXT 4.3.16).
type zipTail struct {
	size int64
	at   int64  // offset of the last record plus 1; 0: there is none
	tail []byte // the last bytes, fewer than a record
}

var errPrefixedZip = errors.New("a zip file that begins with something else is not searched")

func (z *zipTail) Write(b []byte) (int, error) {
	const keep = zipEndSize - 1
	if len(z.tail) > 0 {
		joined := append(z.tail, b[:min(len(b), keep)]...)
		z.search(joined, z.size-int64(len(z.tail)))
		z.tail = joined
	}
	z.search(b, z.size)
	z.size += int64(len(b))
	from := b
	if len(b) < keep {
		if from = z.tail; len(from) == 0 {
			from = b
		}
	}
	z.tail = append(z.tail[:0], from[max(0, len(from)-keep):]...)
	return len(b), nil
}

// search looks for records that are wholly in b. The first byte of b is at offset base.
func (z *zipTail) search(b []byte, base int64) {
	for i := 0; ; i++ {
		next := bytes.Index(b[i:], []byte(zipEnd))
		if next < 0 || i+next+zipEndSize > len(b) {
			return
		}
		i += next
		if at := base + int64(i); isZipEnd(b[i:], at) {
			z.at = at + 1
		}
	}
}

// isZipEnd reports whether a record at this offset can be that of a zip file with members, on a single disk.
func isZipEnd(b []byte, at int64) bool {
	if le32(b[4:]) != 0 && le32(b[4:]) != 0xffffffff || le16(b[8:]) != le16(b[10:]) {
		return false
	}
	count, size, offset := int64(le16(b[10:])), int64(le32(b[12:])), int64(le32(b[16:]))
	if count == 0xffff || size == 0xffffffff || offset == 0xffffffff { // zip64
		return true
	}
	return count > 0 && size >= zipEntrySize*count && offset+size <= at
}

// found reports whether the data ends like a zip file.
func (z *zipTail) found() bool { return z.at > 0 && z.size-z.at < zipEndSize+maxZipComment }
