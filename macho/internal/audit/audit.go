// Package audit checks repaired images for package macho. It shares no code with that package: it locates each
// CodeDirectory in the image, parses it, and checks pages, slots and rules independently.
package audit

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"runtime"
	"sync"
)

// Slice says where a slice and its signature are. Offsets count from the start of the image.
type Slice struct {
	Offset          int64
	Signature, Size int64 // of the signature
	InfoPlist       int64 // the section __TEXT,__info_plist
	InfoPlistSize   int64
}

// Written lists the slots of a CodeDirectory that a repair has written: code slots by page, in rising order, and
// special slots by k.
type Written struct {
	Slot    uint32 // of the CodeDirectory in the SuperBlob
	Pages   []int
	Special []int
}

// Slots returns an error unless every written slot is the hash of its content. At most jobs goroutines hash at a time;
// 0 means GOMAXPROCS.
func Slots(image io.ReaderAt, s Slice, written []Written, jobs int) error {
	a := auditor{image: image, slice: s.Offset, sig: s.Signature}
	if err := a.readIndex(s.Size); err != nil {
		return err
	}
	for _, w := range written {
		if err := a.open(w.Slot); err != nil {
			return err
		}
		if err := a.checkPages(w.Pages, jobs); err != nil {
			return err
		}
		for _, k := range w.Special {
			if err := a.checkSpecial(k, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// Stored returns an error unless special slot -k of the CodeDirectory in a slot of the SuperBlob holds this digest.
func Stored(image io.ReaderAt, s Slice, directory uint32, k int, digest []byte) error {
	a := auditor{image: image, slice: s.Offset, sig: s.Signature}
	if err := a.readIndex(s.Size); err != nil {
		return err
	}
	if err := a.open(directory); err != nil {
		return err
	}
	c := a.newChecker()
	c.sum = digest
	if int64(len(digest)) < a.hashSize() {
		return fmt.Errorf("macho: check of the repair: a digest of %d bytes for special slot -%d of %d", len(digest), k, a.hashSize())
	}
	if err := c.compare(a.cd + a.u32(16) - int64(k)*a.hashSize()); err != nil {
		return fmt.Errorf("%w (special slot -%d)", err, k)
	}
	return nil
}

// auditor checks slots of one CodeDirectory. Its offsets count from the start of the image.
type auditor struct {
	image      io.ReaderAt
	slice, sig int64
	index      []byte // of the SuperBlob; nil: the signature is a CodeDirectory
	cd         int64
	head       [108]byte // zeros past the end of the CodeDirectory
}

func (a *auditor) u32(off int) int64 { return int64(binary.BigEndian.Uint32(a.head[off:])) }

// read fills b with the bytes at off.
func (a *auditor) read(b []byte, off int64) error {
	if n, err := a.image.ReadAt(b, off); n < len(b) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("macho: check of the repair: read %d bytes at offset %d: %w", len(b), off, err)
	}
	return nil
}

// readIndex reads the index of the signature, which has size bytes.
func (a *auditor) readIndex(size int64) error {
	head := make([]byte, 12)
	if err := a.read(head, a.sig); err != nil {
		return err
	}
	if binary.BigEndian.Uint32(head) == 0xfade0c02 { // CSMAGIC_CODEDIRECTORY
		return nil
	}
	n := 8 * int64(binary.BigEndian.Uint32(head[8:]))
	if n > size-12 {
		return fmt.Errorf("macho: check of the repair: index of %d bytes in a signature of %d", n, size)
	}
	a.index = make([]byte, n)
	return a.read(a.index, a.sig+12)
}

// find returns the offset of a blob.
func (a *auditor) find(slot uint32) (int64, error) {
	if a.index == nil && slot == 0 {
		return a.sig, nil
	}
	for record := a.index; len(record) > 0; record = record[8:] {
		if binary.BigEndian.Uint32(record) == slot {
			return a.sig + int64(binary.BigEndian.Uint32(record[4:])), nil
		}
	}
	return 0, fmt.Errorf("macho: check of the repair: no blob %#x", slot)
}

// open reads the header of the CodeDirectory in a slot of the index.
func (a *auditor) open(slot uint32) error {
	var err error
	if a.cd, err = a.find(slot); err != nil {
		return err
	}
	a.head = [len(a.head)]byte{}
	if err := a.read(a.head[:8], a.cd); err != nil {
		return err
	}
	return a.read(a.head[:min(int64(len(a.head)), a.u32(4))], a.cd)
}

func (a *auditor) hashSize() int64 { return int64(a.head[36]) }

// newHash returns a hash of the CodeDirectory's type, whose sum may be longer than hashSize.
func (a *auditor) newHash() hash.Hash {
	switch a.head[37] {
	case 1:
		return sha1.New()
	case 4:
		return sha512.New384()
	case 5:
		return sha512.New()
	}
	return sha256.New()
}

// codeLimit returns codeLimit64 if it is set, and codeLimit otherwise.
func (a *auditor) codeLimit() int64 {
	if limit := binary.BigEndian.Uint64(a.head[56:]); a.u32(8) >= 0x20300 && limit != 0 {
		return int64(limit)
	}
	return a.u32(32)
}

// checkPages checks the slots of pages, which are in rising order.
func (a *auditor) checkPages(pages []int, jobs int) error {
	if len(pages) == 0 {
		return nil
	}
	slots, err := a.slotsOf(pages)
	if err != nil {
		return err
	}
	if jobs <= 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	const share = 256 // pages that justify a goroutine
	jobs = max(1, min(jobs, len(pages)/share))
	errs := make([]error, jobs)
	var wg sync.WaitGroup
	for n := range jobs {
		check := func() {
			from, to := n*len(pages)/jobs, (n+1)*len(pages)/jobs
			c := a.newChecker()
			for i := from; i < to && errs[n] == nil; i++ {
				errs[n] = c.checkPage(int64(pages[i]), slots[i])
			}
		}
		if n == jobs-1 {
			check()
		} else {
			wg.Go(check)
		}
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// slotsOf returns the slot of each page.
func (a *auditor) slotsOf(pages []int) ([]int64, error) {
	slots := make([]int64, len(pages))
	scatter := int64(0)
	if a.u32(8) >= 0x20100 {
		scatter = a.u32(44)
	}
	if scatter == 0 {
		for i, page := range pages {
			slots[i] = int64(page)
		}
		return slots, nil
	}
	slot := int64(0) // of the first page of the record
	record := make([]byte, 24)
	for i := 0; i < len(pages); scatter += 24 {
		if err := a.read(record, a.cd+scatter); err != nil {
			return nil, err
		}
		count, first := int64(binary.BigEndian.Uint32(record)), int64(binary.BigEndian.Uint32(record[4:]))
		if count == 0 || int64(pages[i]) < first {
			return nil, fmt.Errorf("macho: check of the repair: page %d has no slot", pages[i])
		}
		for ; i < len(pages) && int64(pages[i]) < first+count; i++ {
			slots[i] = slot + int64(pages[i]) - first
		}
		slot += count
	}
	return slots, nil
}

// checkSpecial checks special slot -k.
func (a *auditor) checkSpecial(k int, s Slice) error {
	from, size := s.InfoPlist, s.InfoPlistSize
	if k != 1 {
		var err error
		if from, err = a.find(uint32(k)); err != nil {
			return err
		}
		head := make([]byte, 8)
		if err := a.read(head, from); err != nil {
			return err
		}
		size = int64(binary.BigEndian.Uint32(head[4:]))
	}
	c := a.newChecker()
	if err := c.hash(from, size); err != nil {
		return err
	}
	if err := c.compare(a.cd + a.u32(16) - int64(k)*a.hashSize()); err != nil {
		return fmt.Errorf("%w (special slot -%d)", err, k)
	}
	return nil
}

// checker hashes for an auditor. Its buffers serve one goroutine.
type checker struct {
	*auditor
	h      hash.Hash
	buf    []byte
	sum    []byte
	stored []byte
}

func (a *auditor) newChecker() *checker {
	return &checker{auditor: a, h: a.newHash(), buf: make([]byte, 32<<10), stored: make([]byte, a.hashSize())}
}

// checkPage checks the slot of a page, and its pre-encrypt slot if there is one.
func (c *checker) checkPage(page, slot int64) error {
	from, to := int64(0), c.codeLimit()
	if shift := c.head[39]; shift != 0 {
		from = page << shift
		to = min(to, from+1<<shift)
	}
	if err := c.hash(c.slice+from, to-from); err != nil {
		return err
	}
	err := c.compare(c.cd + c.u32(16) + slot*c.hashSize())
	if twin := c.u32(92); err == nil && c.u32(8) >= 0x20500 && twin != 0 {
		err = c.compare(c.cd + twin + slot*c.hashSize())
	}
	if err != nil {
		return fmt.Errorf("%w (page %d)", err, page)
	}
	return nil
}

// hash sets sum to the hash of n bytes at off.
func (c *checker) hash(off, n int64) error {
	c.h.Reset()
	for n > 0 {
		part := c.buf[:min(n, int64(len(c.buf)))]
		if err := c.read(part, off); err != nil {
			return err
		}
		c.h.Write(part)
		off, n = off+int64(len(part)), n-int64(len(part))
	}
	c.sum = c.h.Sum(c.sum[:0])
	return nil
}

// compare compares the slot at an offset with sum.
func (c *checker) compare(at int64) error {
	if err := c.read(c.stored, at); err != nil {
		return err
	}
	if sum := c.sum[:c.hashSize()]; !bytes.Equal(c.stored, sum) {
		return fmt.Errorf("macho: check of the repair: slot at offset %d holds %x, want %x", at, c.stored, sum)
	}
	return nil
}
