package refs

import (
	"archive/tar"
	"bufio"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
)

// tar searches the members of a tar archive. end gets the same bytes as r, or has them already. raw is nil unless the
// archive is hidden; r then reads through it.
func (u *Unpacker) tar(r io.Reader, end *zipTail, raw *rawSearch, l layer) {
	if err := u.memory.take(tarMemory); err != nil {
		u.warn(l, err)
		return
	}
	defer u.memory.give(tarMemory)
	in := &counted{r: r}
	tr := tar.NewReader(in)
	for {
		at := padded(in.n)
		h, err := tr.Next()
		if err == io.EOF {
			u.afterTar(in, end, raw, l)
			return
		}
		if err != nil {
			u.warn(l, err)
			return
		}
		m := l.inside("!"+h.Name, "tar", false)
		if ambiguous(h, in.n-at) {
			u.warn(m, errTarReadersDiffer)
		}
		u.searchName(InName, h.Name, m, raw)
		u.searchName(InTarget, h.Linkname, m, raw)
		size := h.Size
		h = nil // its PAX records take memory
		if size == 0 {
			continue
		}
		// A sparse file may be larger than the archive.
		start := in.n
		raw.pause()
		err = u.unpack(tr, func() int64 { return in.n }, m)
		raw.resume()
		if err != nil {
			return
		}
		if in.n == start+size { // otherwise it is sparse, and its contents are elsewhere
			end.addMember(start, in.n)
		}
	}
}

// errTarReadersDiffer is about a header after which some programs look for the next one elsewhere than package
// archive/tar, so that they extract other members.
var errTarReadersDiffer = errors.New("programs read what follows its header in different ways")

// ambiguous reports whether programs differ about the bytes that follow a header. size is the number of bytes of the
// header and of those before it that belong to it.
func ambiguous(h *tar.Header, size int64) bool {
	const volume, solaris = 'V', 'X'
	switch h.Typeflag {
	case tar.TypeLink, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeDir, tar.TypeFifo, volume:
		return h.Size > 0 // GNU tar skips so many bytes
	case solaris:
		return true // GNU tar reads it like a PAX header
	case tar.TypeXGlobalHeader:
		records := int64(0)
		for k, v := range h.PAXRecords {
			if k == "size" || strings.HasPrefix(k, "GNU.sparse.") { // GNU tar applies it to all members
				return true
			}
			records += recordSize(k, v)
		}
		return padded(size) != blockSize+padded(records) // a PAX header before it, which GNU tar applies to the next member
	}
	return false
}

const blockSize = 512

// padded returns n, rounded up to blocks.
func padded(n int64) int64 { return (n + blockSize - 1) &^ (blockSize - 1) }

// recordSize returns the number of bytes of a PAX record, which begins with this number.
func recordSize(key, value string) int64 {
	rest := len(" =\n") + len(key) + len(value)
	n := rest + 1
	for n != rest+len(strconv.Itoa(n)) {
		n = rest + len(strconv.Itoa(n))
	}
	return int64(n)
}

// afterTar searches the bytes after the end of a tar archive and its padding, if they are packed, too. Programs that
// extract the archive do not show them.
func (u *Unpacker) afterTar(r *counted, end *zipTail, raw *rawSearch, l layer) {
	br := bufio.NewReaderSize(r, HeadSize)
	for {
		b, err := br.ReadByte()
		if err != nil {
			return // open reads it again
		}
		if b != 0 {
			break
		}
	}
	if err := br.UnreadByte(); err != nil {
		return
	}
	if head, _ := br.Peek(HeadSize); packing(head) == "" {
		return
	}
	end.addMember(r.n-int64(br.Buffered()), math.MaxInt64)
	raw.pause()
	u.open(br, l.inside("!", "tar", false))
	raw.resume()
}
