package refs

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// isTar reports whether a file begins with the header of a tar archive. It is recognized by its checksum, because
// archives from before POSIX have no magic number.
func isTar(head []byte) bool {
	const size, at, end = 512, 148, 156
	if len(head) < size {
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

// A zipTail looks for a zip file in the data written to it, since a zip file may begin with anything, such as a program
// that unpacks it (APPNOTE.TXT 4.3.16).
type zipTail struct {
	size    int64
	tail    []byte  // the last bytes, zipTailSize or more if there are as many
	entries []int64 // offsets of the first signatures of directory entries, in order
	members []hole  // see addMember
}

const (
	// maxZipEnd is the number of bytes at the end of a file in which programs look for an end record. It is more than the
	// longest comment takes; Go looks in the last 65 KiB.
	maxZipEnd   = 65 << 10
	zipTailSize = zip64EndSize + zip64LocatorSize + maxZipEnd
	// maxTailEntries is the maximum number of entries that are remembered. More of them may be anywhere after these.
	maxTailEntries = 1 << 14
)

var errPrefixedZip = errors.New("a zip file that begins with something else is not searched")

func (z *zipTail) Write(b []byte) (int, error) {
	const across = len(zipEntry) - 1 // bytes of a signature before b, or in it
	var edge [2 * across]byte
	n := copy(edge[:], z.tail[max(0, len(z.tail)-across):])
	m := copy(edge[n:], b[:min(len(b), across)])
	z.search(edge[:n+m], z.size-int64(n))
	z.search(b, z.size)
	z.size += int64(len(b))
	switch {
	case len(b) >= zipTailSize:
		z.tail = append(z.tail[:0], b[len(b)-zipTailSize:]...)
	case len(z.tail)+len(b) > 2*zipTailSize:
		z.tail = z.tail[:copy(z.tail, z.tail[len(z.tail)+len(b)-zipTailSize:])]
		fallthrough
	default:
		z.tail = append(z.tail, b...)
	}
	return len(b), nil
}

// search looks for signatures of directory entries in b, whose first byte is at offset base.
func (z *zipTail) search(b []byte, base int64) {
	for i := 0; len(z.entries) < maxTailEntries; i += len(zipEntry) {
		next := bytes.Index(b[i:], []byte(zipEntry))
		if next < 0 {
			return
		}
		i += next
		z.entries = append(z.entries, base+int64(i))
	}
}

// skip skips n zeros.
func (z *zipTail) skip(n int64) {
	z.size += n
	if n >= zipTailSize {
		z.tail = z.tail[:0]
		n = zipTailSize
	}
	z.tail = append(z.tail, make([]byte, n)...)
}

// reset prepares z for the next file. It keeps the buffers.
func (z *zipTail) reset() {
	*z = zipTail{tail: z.tail[:0], entries: z.entries[:0], members: z.members[:0]}
}

// addMember says that the bytes between two offsets are searched as a member of an archive. Then a zip file whose end
// is there is found there.
func (z *zipTail) addMember(start, end int64) {
	z.members = slices.DeleteFunc(z.members, func(m hole) bool { return m.end < start-maxZipEnd })
	z.members = append(z.members, hole{start, end})
}

// found reports whether programs can read the data as a zip file.
func (z *zipTail) found() bool {
	for i := max(0, len(z.tail)-maxZipEnd); ; i++ {
		next := bytes.Index(z.tail[i:], []byte(zipEnd))
		if next < 0 || i+next+zipEndSize > len(z.tail) {
			return false
		}
		if i += next; z.isEnd(i) {
			return true
		}
	}
}

// isEnd reports whether the record at tail[i] is the end of a zip file with members: whether its directory is where the
// record says.
func (z *zipTail) isEnd(i int) bool {
	at := z.size - int64(len(z.tail)-i)
	b := z.tail[i:]
	if z.locates(at, at, uint64(le32(b[12:])), uint64(le32(b[16:]))) {
		return true
	}
	if i < zip64LocatorSize || string(z.tail[i-zip64LocatorSize:][:4]) != zip64Locator {
		return false
	}
	if i -= zip64LocatorSize + zip64EndSize; i < 0 || string(z.tail[i:][:4]) != zip64End {
		return true // its directory may be anywhere
	}
	b = z.tail[i:]
	return z.locates(at, z.size-int64(len(b)), le64(b[40:]), le64(b[48:]))
}

// locates reports whether a directory can be read that has size bytes before directoryEnd, or begins at offset. Offsets
// count from the start of the data or, in a file to which a zip file was appended, from the start of the zip file.
func (z *zipTail) locates(end, directoryEnd int64, size, offset uint64) bool {
	for _, at := range [2]int64{directoryEnd - int64(size), int64(offset)} {
		if z.hasEntry(at) && !slices.ContainsFunc(z.members, func(m hole) bool { return m.start <= min(at, end) && max(at, end) < m.end }) {
			return true
		}
	}
	return false
}

// hasEntry reports whether a directory entry may begin at an offset.
func (z *zipTail) hasEntry(at int64) bool {
	if n := len(z.entries); n == maxTailEntries && at > z.entries[n-1] {
		return at <= z.size-zipEntrySize
	}
	_, ok := slices.BinarySearch(z.entries, at)
	return ok
}
