package bundle

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"hash"
	"strings"

	"narseal/macho"
	"narseal/macho/bundle/resources"
)

// maxPages bounds the pages of a script whose digests are kept: 2.5 MiB of text. Several scripts may wait at once.
const maxPages = 640

// scriptMemory is the memory of the digest of such a file, without its pages.
const scriptMemory = 1024

// pages has the digests of the pages of a file that may be the main executable of a bundle.
type pages struct {
	hashes [3]hash.Hash // of the page that is not complete
	filled int          // bytes of it
	sums   []byte
	full   bool // there are more than maxPages
}

// pageSums is the layout of a page in sums: the offset of each hash, and the total.
var pageSums = [...]int{0, 20, 52, 100}

func (p *pages) Write(b []byte) {
	if p.hashes[0] == nil {
		p.hashes = [3]hash.Hash{sha1.New(), sha256.New(), sha512.New384()}
	}
	for len(b) > 0 && !p.full {
		n := min(pageSize-p.filled, len(b))
		for _, h := range p.hashes {
			h.Write(b[:n])
		}
		b = b[n:]
		if p.filled += n; p.filled == pageSize {
			p.finish()
		}
	}
}

// finish ends a page, unless it is empty.
func (p *pages) finish() {
	if p.filled == 0 || p.full {
		return
	}
	if p.full = len(p.sums) == maxPages*pageSums[3]; p.full {
		p.sums = nil
		return
	}
	for _, h := range p.hashes {
		p.sums = h.Sum(p.sums)
		h.Reset()
	}
	p.filled = 0
}

// end is finish for the last page. No more may be written.
func (p *pages) end() {
	p.finish()
	p.hashes = [3]hash.Hash{}
}

// pagesOf returns the pages of a file that is kept.
func pagesOf(data []byte) *pages {
	p := &pages{}
	p.Write(data)
	p.end()
	return p
}

// stale returns the pages whose slot in the CodeDirectory does not match. whole has the digests of the file.
func (p *pages) stale(d *detached, whole *FileDigest) []int {
	if d.PageSize == 0 {
		if d.limit > 0 && !whole.equals(macho.SpecialSlot{HashType: d.HashType, Digest: d.slots}) {
			return []int{0}
		}
		return nil
	}
	var list []int
	from := pageSums[map[macho.HashType]int{macho.SHA256: 1, macho.SHA256Truncated: 1, macho.SHA384: 2}[d.HashType]]
	for i := range d.Slots {
		sum := p.sums[i*pageSums[3]+from:][:d.hashSize]
		if !bytes.Equal(sum, d.slots[i*d.hashSize:][:d.hashSize]) {
			list = append(list, i)
		}
	}
	return list
}

// addScript keeps the digests of a file that may be the main executable of a bundle.
func (c *Checker) addScript(it *Item, path string) {
	t := &c.tree
	d := it.Digest
	if d == nil || it.Kind != resources.Regular || IsSealedFile(it.Name) {
		return
	}
	if d.pages == nil && d.size == 0 {
		d.pages = &pages{}
	}
	dir, _ := splitPath("/" + path)
	outer, name := splitPath(dir)
	main := dir == "" || name == executablesDir[1:] || isBundleName([]byte(name)) || strings.HasSuffix(outer, "/Versions")
	if d.pages == nil || !main {
		d.pages = nil
		return
	}
	d.pages.end()
	if d.pages.full || !c.take(scriptMemory+cap(d.pages.sums)) {
		return
	}
	if t.scripts == nil {
		t.scripts = map[string]*FileDigest{}
	}
	t.scripts[path] = d
}
