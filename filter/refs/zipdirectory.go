package refs

import (
	"archive/zip"
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// A zip archive ends with a directory and a record with its offset (APPNOTE.TXT 4.3):
//
//	{ local header, name, extra, contents } { directory header, name, extra, comment }
//	[ zip64 end, zip64 locator ] end, comment
//
// Package archive/zip keeps the whole directory in memory, at several times its size. This code reads one entry at a
// time.
const (
	zipLocal     = "PK\x03\x04"
	zipEntry     = "PK\x01\x02"
	zipEnd       = "PK\x05\x06"
	zip64End     = "PK\x06\x06"
	zip64Locator = "PK\x06\x07"

	zipEntrySize     = 46
	zipEndSize       = 22
	zip64EndSize     = 56
	zip64LocatorSize = 20

	// maxZipDirectory is the size of the largest directory that is read, in bytes.
	maxZipDirectory = 16 << 20
)

var le16, le32, le64 = binary.LittleEndian.Uint16, binary.LittleEndian.Uint32, binary.LittleEndian.Uint64

// zipDirectory reads the directory of a zip archive entry by entry.
type zipDirectory struct {
	in      *bufio.Reader
	at      int64 // offset in the archive at which in reads next
	start   int64
	end     int64 // of the last entry
	base    int64 // bytes before the archive
	entries uint64
	read    uint64
	f       zipMember
	fields  []byte // name, extra and comment of f
}

// zipMember is an entry of the directory.
type zipMember struct {
	name             string
	nameAt           int64 // in the archive's file
	flags, method    uint16
	crc              uint32
	packed, unpacked uint64
	offset           int64 // of the local header, in the archive's file
}

// What programs read differently is an error, since other members may be hidden there.
var (
	errTwoEnds        = errors.New("a zip archive with two ends")
	errTwoDirectories = errors.New("a zip archive with two directories")
	errEndsDiffer     = errors.New("a zip archive with two ends that differ")
)

// openZip finds the directory of an archive of size bytes.
func openZip(r io.ReaderAt, size int64) (*zipDirectory, error) {
	end, at, err := findZipEnd(r, size)
	if err != nil {
		return nil, err
	}
	entries, length, offset := uint64(le16(end[10:])), uint64(le32(end[12:])), uint64(le32(end[16:]))
	large, err := findZip64End(r, at)
	if err != nil {
		return nil, err
	}
	if large != nil {
		at -= zip64LocatorSize + zip64EndSize
		entries64, length64, offset64 := le64(large[32:]), le64(large[40:]), le64(large[48:])
		if entries != entries64 && entries != math.MaxUint16 || length != length64 && length != math.MaxUint32 || offset != offset64 && offset != math.MaxUint32 {
			return nil, errEndsDiffer
		}
		entries, length, offset = entries64, length64, offset64
	}
	if length > uint64(at) || offset > uint64(size) {
		return nil, zip.ErrFormat
	}
	d := &zipDirectory{start: at - int64(length), end: at, entries: entries}
	// Like package archive/zip, accept offsets with and without the bytes before the archive. Other programs prefer one
	// that counts without them.
	d.base = d.start - int64(offset)
	if d.base < 0 {
		return nil, zip.ErrFormat
	}
	if d.base > 0 {
		here, err := hasEntry(r, int64(offset))
		if err != nil {
			return nil, err
		}
		there, err := hasEntry(r, d.start)
		if err != nil {
			return nil, err
		}
		if here && there {
			return nil, errTwoDirectories
		}
		if here {
			d.start, d.base = int64(offset), 0
		}
	}
	d.at = d.start
	d.in = bufio.NewReader(io.NewSectionReader(r, d.start, d.end-d.start))
	return d, nil
}

// hasEntry reports whether r has a directory entry at an offset.
func hasEntry(r io.ReaderAt, at int64) (bool, error) {
	var b [len(zipEntry)]byte
	n, err := r.ReadAt(b[:], at)
	if err == io.EOF {
		err = nil
	}
	return string(b[:n]) == zipEntry, err
}

// findZipEnd returns the last end record, and its offset.
func findZipEnd(r io.ReaderAt, size int64) ([]byte, int64, error) {
	for _, n := range [2]int64{1 << 10, maxZipEnd} {
		last := n == maxZipEnd
		n = min(n, size)
		b := make([]byte, n)
		if _, err := r.ReadAt(b, size-n); err != nil && err != io.EOF {
			return nil, 0, err
		}
		i := bytes.LastIndex(b[:max(0, len(b)-zipEndSize+len(zipEnd))], []byte(zipEnd))
		switch {
		case i >= 0 && i+zipEndSize+int(le16(b[i+20:])) == len(b): // all programs take this one
		case !last:
			continue
		case i < 0:
			return nil, 0, zip.ErrFormat
		case bytes.Index(b, []byte(zipEnd)) != i: // programs that want a comment of the right length may take another
			return nil, 0, errTwoEnds
		}
		return b[i:], size - n + int64(i), nil
	}
	return nil, 0, zip.ErrFormat
}

// findZip64End returns the zip64 end record before the end record at end, or nil if there is none. Programs look for it
// there, or where the locator between these says.
func findZip64End(r io.ReaderAt, end int64) ([]byte, error) {
	if end < zip64LocatorSize {
		return nil, nil
	}
	var locator [zip64LocatorSize]byte
	if _, err := r.ReadAt(locator[:], end-zip64LocatorSize); err != nil {
		return nil, err
	}
	if string(locator[:4]) != zip64Locator {
		return nil, nil
	}
	at := end - zip64LocatorSize - zip64EndSize
	if at < 0 || le64(locator[8:]) != uint64(at) {
		return nil, zip.ErrFormat
	}
	b := make([]byte, zip64EndSize)
	if _, err := r.ReadAt(b, at); err != nil {
		return nil, err
	}
	if string(b[:4]) != zip64End || le64(b[4:]) != zip64EndSize-12 {
		return nil, zip.ErrFormat
	}
	return b, nil
}

// next returns the next entry, which is valid until the next call, or io.EOF.
func (d *zipDirectory) next() (*zipMember, error) {
	head, err := d.in.Peek(zipEntrySize)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if len(head) == 0 {
		if uint16(d.read) != uint16(d.entries) { // some writers count modulo 65,536
			return nil, zip.ErrFormat
		}
		return nil, io.EOF
	}
	if len(head) < zipEntrySize || string(head[:4]) != zipEntry {
		return nil, zip.ErrFormat
	}
	d.read++
	f := &d.f
	*f = zipMember{
		flags: le16(head[8:]), method: le16(head[10:]), crc: le32(head[16:]),
		packed: uint64(le32(head[20:])), unpacked: uint64(le32(head[24:])),
		nameAt: d.at + zipEntrySize,
	}
	name, extra, comment := int(le16(head[28:])), int(le16(head[30:])), int(le16(head[32:]))
	offset := uint64(le32(head[42:]))
	if d.at += int64(zipEntrySize + name + extra + comment); d.at-d.start > maxZipDirectory {
		return nil, limitError(fmt.Sprintf("its directory has more than %d bytes", maxZipDirectory))
	}
	d.in.Discard(zipEntrySize)
	if n := name + extra + comment; cap(d.fields) < n {
		d.fields = make([]byte, n)
	} else {
		d.fields = d.fields[:n]
	}
	if _, err := io.ReadFull(d.in, d.fields); err != nil {
		return nil, zip.ErrFormat
	}
	f.name = string(d.fields[:name])
	f.zip64(d.fields[name:name+extra], &offset)
	if offset > math.MaxInt64 || int64(offset) > math.MaxInt64-d.base {
		return nil, zip.ErrFormat
	}
	f.offset = int64(offset) + d.base
	return f, nil
}

// zip64 sets the fields that do not fit into the entry from the zip64 extra field.
func (f *zipMember) zip64(extra []byte, offset *uint64) {
	for len(extra) >= 4 {
		id, n := le16(extra), int(le16(extra[2:]))
		if extra = extra[4:]; n > len(extra) {
			return
		}
		field := bytes.NewReader(extra[:n])
		extra = extra[n:]
		if id != 1 {
			continue
		}
		for _, v := range []*uint64{&f.unpacked, &f.packed, offset} {
			var b [8]byte
			if *v == math.MaxUint32 {
				if _, err := io.ReadFull(field, b[:]); err != nil {
					return
				}
				*v = le64(b[:])
			}
		}
	}
}
