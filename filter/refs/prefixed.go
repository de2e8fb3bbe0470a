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
	field, _, _ := strings.Cut(strings.TrimLeft(string(head[at:end]), " "), "\x00")
	field, _, _ = strings.Cut(field, " ")
	sum, err := strconv.ParseInt(field, 8, 32)
	if err != nil {
		return false
	}
	want := int64(end-at) * ' ' // the checksum field counts as spaces
	signed := want              // some programs add up signed bytes
	for i, b := range head[:size] {
		if i < at || i >= end {
			want += int64(b)
			signed += int64(int8(b))
		}
	}
	return sum == want || sum == signed
}

// A zipTail looks for the end record of a zip file in the data written to it, since a zip file may begin with anything,
// such as a program that unpacks it (APPNOTE.TXT 4.3.16).
type zipTail struct {
	size  int64
	at    int64  // offset of the last end record plus 1; 0: there is none
	entry int64  // offset of the last directory entry plus 1; 0: there is none
	tail  []byte // the last bytes, too few for a record and the bytes before it that search needs
}

var errPrefixedZip = errors.New("a zip file that begins with something else is not searched")

func (z *zipTail) Write(b []byte) (int, error) {
	const keep = zip64LocatorSize + zipEndSize - 1
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

// search looks for signatures of directory entries, and for whole end records, in b. The first byte of b is at offset
// base.
func (z *zipTail) search(b []byte, base int64) {
	for i := 0; ; i++ {
		next := bytes.Index(b[i:], []byte("PK"))
		if next < 0 || i+next+4 > len(b) {
			return
		}
		i += next
		at := base + int64(i)
		switch string(b[i : i+4]) {
		case zipEntry:
			z.entry = at + 1
		case zipEnd:
			if i+zipEndSize <= len(b) && z.isEnd(b[i:], at, i >= zip64LocatorSize && string(b[i-zip64LocatorSize:i-zip64LocatorSize+4]) == zip64Locator) {
				z.at = at + 1
			}
		}
	}
}

// isEnd reports whether a record at offset at can be the end record of a zip file with members: there must be an entry
// in the directory that it locates. Programs that read zip files check little more.
func (z *zipTail) isEnd(b []byte, at int64, zip64 bool) bool {
	count, size, offset := le16(b[10:]), int64(le32(b[12:])), le32(b[16:])
	if zip64 && (count == 0xffff || size == 0xffffffff || offset == 0xffffffff) {
		return true
	}
	entry := z.entry - 1
	return entry >= 0 && at-size <= entry && entry <= at-zipEntrySize
}

// skip skips n zeros.
func (z *zipTail) skip(n int64) {
	z.size += n
	z.tail = z.tail[:0]
}

// found reports whether the data ends like a zip file.
func (z *zipTail) found() bool { return z.at > 0 && z.size-z.at < zipEndSize+maxZipComment }
