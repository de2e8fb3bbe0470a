package refs

import (
	"archive/tar"
	"bufio"
	"io"
	"math"
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
