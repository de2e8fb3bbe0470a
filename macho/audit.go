package macho

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"runtime"
	"sync"
)

// audit checks the slots that were written. It shares no code with what wrote
// them but the names of the hashes: it finds each CodeDirectory again in the
// image, reads its fields again, and works out pages and slots on its own.
func (j *sliceJob) audit() error {
	for _, sel := range j.sels {
		if len(sel.stale)+len(sel.staleSpecial) == 0 {
			continue
		}
		a := auditor{image: j.image, slice: j.slice.off, sig: j.slice.off + j.slice.commands.sigOff}
		if err := a.open(sel.dir.slot); err != nil {
			return err
		}
		if err := a.checkPages(sel.stale, j.Jobs); err != nil {
			return err
		}
		for _, k := range sel.staleSpecial {
			if err := a.checkSpecial(k, j.slice.commands.infoPlist); err != nil {
				return err
			}
		}
	}
	return nil
}

// auditor checks slots of one CodeDirectory. Its offsets count from the start of
// the image.
type auditor struct {
	image      Image
	slice, sig int64
	cd         int64
	head       [108]byte // zeros past the end of the CodeDirectory
}

func (a *auditor) u32(off int) int64 { return int64(binary.BigEndian.Uint32(a.head[off:])) }

// read returns n bytes at off.
func (a *auditor) read(off int64, n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(io.NewSectionReader(a.image, off, int64(n)), b); err != nil {
		return nil, fmt.Errorf("macho: check of the repair: read %d bytes at offset %d: %w", n, off, err)
	}
	return b, nil
}

// find returns the offset of a blob.
func (a *auditor) find(slot uint32) (int64, error) {
	b, err := a.read(a.sig, 12)
	if err != nil {
		return 0, err
	}
	if slot == 0 && binary.BigEndian.Uint32(b) == magicCodeDirectory {
		return a.sig, nil
	}
	for i := range int64(binary.BigEndian.Uint32(b[8:])) {
		record, err := a.read(a.sig+12+8*i, 8)
		if err != nil {
			return 0, err
		}
		if binary.BigEndian.Uint32(record) == slot {
			return a.sig + int64(binary.BigEndian.Uint32(record[4:])), nil
		}
	}
	return 0, fmt.Errorf("macho: check of the repair: no blob %#x", slot)
}

func (a *auditor) open(slot uint32) error {
	var err error
	if a.cd, err = a.find(slot); err != nil {
		return err
	}
	start, err := a.read(a.cd, 8)
	if err != nil {
		return err
	}
	head, err := a.read(a.cd, min(len(a.head), int(binary.BigEndian.Uint32(start[4:]))))
	copy(a.head[:], head)
	return err
}

func (a *auditor) hashType() HashType { return HashType(a.head[37]) }
func (a *auditor) hashSize() int64    { return int64(a.head[36]) }

// codeLimit is codeLimit64 where there is one.
func (a *auditor) codeLimit() int64 {
	if limit := binary.BigEndian.Uint64(a.head[56:]); a.u32(8) >= 0x20300 && limit != 0 {
		return int64(limit)
	}
	return a.u32(32)
}

// checkPages checks the slots of pages, which are in rising order.
func (a *auditor) checkPages(pages []int, jobs int) error {
	slots, err := a.slotsOf(pages)
	if err != nil {
		return err
	}
	if jobs <= 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	const share = 256 // pages that are worth a goroutine
	jobs = max(1, min(jobs, len(pages)/share))
	errs := make([]error, jobs)
	var wg sync.WaitGroup
	for n := range jobs {
		check := func() {
			from, to := n*len(pages)/jobs, (n+1)*len(pages)/jobs
			buf := make([]byte, 32<<10)
			for i := from; i < to && errs[n] == nil; i++ {
				errs[n] = a.checkPage(int64(pages[i]), slots[i], buf)
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
	for i := 0; i < len(pages); scatter += 24 {
		record, err := a.read(a.cd+scatter, 24)
		if err != nil {
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

// checkPage checks the slot of a page, and its twin if there is one.
func (a *auditor) checkPage(page, slot int64, buf []byte) error {
	from, to := int64(0), a.codeLimit()
	if shift := a.head[39]; shift != 0 {
		from = page << shift
		to = min(to, from+1<<shift)
	}
	arrays := []int64{a.u32(16)}
	if twin := a.u32(92); a.u32(8) >= 0x20500 && twin != 0 {
		arrays = append(arrays, twin)
	}
	sum, err := a.hash(a.slice+from, to-from, buf)
	if err != nil {
		return err
	}
	for _, array := range arrays {
		if err := a.compare(a.cd+array+slot*a.hashSize(), sum); err != nil {
			return fmt.Errorf("%w (page %d)", err, page)
		}
	}
	return nil
}

// checkSpecial checks special slot -k.
func (a *auditor) checkSpecial(k int, infoPlist Range) error {
	from, size := a.slice+infoPlist.Off, infoPlist.Len
	if k != 1 {
		var err error
		if from, err = a.find(uint32(k)); err != nil {
			return err
		}
		head, err := a.read(from, 8)
		if err != nil {
			return err
		}
		size = int64(binary.BigEndian.Uint32(head[4:]))
	}
	sum, err := a.hash(from, size, make([]byte, 32<<10))
	if err != nil {
		return err
	}
	if err := a.compare(a.cd+a.u32(16)-int64(k)*a.hashSize(), sum); err != nil {
		return fmt.Errorf("%w (special slot -%d)", err, k)
	}
	return nil
}

func (a *auditor) hash(off, n int64, buf []byte) ([]byte, error) {
	h := a.hashType().New()
	copied, err := io.CopyBuffer(h, io.NewSectionReader(a.image, off, n), buf)
	if err == nil && copied < n {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, fmt.Errorf("macho: check of the repair: read %d bytes at offset %d: %w", n, off, err)
	}
	return h.Sum(nil)[:a.hashSize()], nil
}

func (a *auditor) compare(at int64, sum []byte) error {
	stored, err := a.read(at, len(sum))
	if err != nil {
		return err
	}
	if !bytes.Equal(stored, sum) {
		return fmt.Errorf("macho: check of the repair: slot at offset %d holds %x, want %x", at, stored, sum)
	}
	return nil
}
