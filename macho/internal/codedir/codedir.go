// Package codedir reads a CodeDirectory that is in a file of its own, because what it signs is no image.
package codedir

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"narseal/macho"
)

// A Directory is a parsed CodeDirectory.
type Directory struct {
	macho.CodeDirectory
	Limit    int64               // bytes of the file that the pages cover
	Special  []macho.SpecialSlot // only non-empty slots
	Present  map[int]bool        // non-empty slots by K
	Digests  []byte              // of the pages
	HashSize int
}

const (
	magicDirectory  = 0xfade0c02 // CSMAGIC_CODEDIRECTORY
	versionScatter  = 0x20100
	versionLimit64  = 0x20300
	versionKnown    = 0x20600 // the latest version
	directoryHeader = 44      // bytes, of the first version

	// maxSpecial is the maximum number of special slots. 11 are known.
	maxSpecial = 64
)

var (
	errShort    = errors.New("the CodeDirectory is cut short")
	errPageSize = errors.New("the page size is neither 4096 bytes nor that of the file")
)

// Parse parses the CodeDirectory in a file of a slot. Every length in it is checked against the file's.
func Parse(slot uint32, b []byte) (*Directory, error) {
	be := binary.BigEndian
	at := func(off int) int64 { return int64(be.Uint32(b[off:])) }
	if len(b) < directoryHeader {
		return nil, errShort
	}
	version := uint32(at(8))
	switch {
	case at(0) != magicDirectory:
		return nil, fmt.Errorf("the magic is %08x, want %08x", at(0), magicDirectory)
	case at(4) != int64(len(b)):
		return nil, fmt.Errorf("the CodeDirectory has %d bytes, its file %d", at(4), len(b))
	case version>>16 != versionKnown>>16:
		return nil, fmt.Errorf("version %#x is unknown", version)
	case version >= versionScatter && len(b) < 48, version >= versionLimit64 && len(b) < 64:
		return nil, errShort
	case version >= versionScatter && at(44) != 0:
		return nil, errors.New("the CodeDirectory has a scatter list, which that of a file cannot have")
	}
	d := &Directory{HashSize: int(b[36]), Limit: at(32), Present: map[int]bool{}}
	d.Slot, d.HashType = slot, macho.HashType(b[37])
	if version >= versionLimit64 {
		if limit := be.Uint64(b[56:]); limit != 0 {
			d.Limit = int64(min(limit, 1<<62))
		}
	}
	if d.HashType < macho.SHA1 || d.HashType > macho.SHA384 {
		return nil, fmt.Errorf("hash type %d is unknown", b[37])
	}
	if want := hashSizes[d.HashType]; d.HashSize != want {
		return nil, fmt.Errorf("a digest has %d bytes, want %d", d.HashSize, want)
	}
	if err := d.readSlots(b, at(16), at(24), at(28)); err != nil {
		return nil, err
	}
	if name := at(20); name < int64(len(b)) {
		text, _, _ := bytes.Cut(b[name:], []byte{0})
		d.Identifier = string(text)
	}
	sum := d.HashType.New()
	sum.Write(b)
	d.CDHash = sum.Sum(nil)[:20]
	return d, nil
}

var hashSizes = [...]int{macho.SHA1: 20, macho.SHA256: 32, macho.SHA256Truncated: 20, macho.SHA384: 48}

// PageSize is the only page size that Security.framework uses for files other than images (segmentedPageSize).
const PageSize = 4096

func (d *Directory) readSlots(b []byte, offset, special, code int64) error {
	size := int64(d.HashSize)
	if special > maxSpecial {
		return fmt.Errorf("it has %d special slots, more than %d", special, maxSpecial)
	}
	if offset > int64(len(b)) || special*size > offset || code*size > int64(len(b))-offset {
		return errShort
	}
	pages := int64(1)
	switch b[39] {
	case 0:
	case 12:
		d.PageSize, pages = PageSize, (d.Limit+PageSize-1)/PageSize
	default:
		return errPageSize
	}
	if d.Limit == 0 {
		pages = 0
	}
	if code != pages {
		return fmt.Errorf("it has slots of %d pages, want %d for a code limit of %d", code, pages, d.Limit)
	}
	d.CodeDirectory.Slots = int(code)
	d.Digests = b[offset : offset+code*size]
	for k := int64(1); k <= special; k++ {
		stored := b[offset-k*size:][:size]
		if len(bytes.Trim(stored, "\x00")) > 0 {
			d.Special = append(d.Special, macho.SpecialSlot{K: int(k), HashType: d.HashType, Digest: stored})
			d.Present[int(k)] = true
		}
	}
	return nil
}
