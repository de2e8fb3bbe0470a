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
	"narseal/macho/internal/codedir"
)

// maxPages is the maximum number of pages of a script, for 2.5 MiB of text. The digests of several scripts may be kept
// at the same time.
const maxPages = 640

// scriptMemory is the memory of the digest of a script, without its pages.
const scriptMemory = 1024

// pages holds the digests of the pages of a file that may be the main executable of a bundle.
type pages struct {
	hashes [3]hash.Hash // of the incomplete page
	filled int          // bytes of the incomplete page
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
		n := min(codedir.PageSize-p.filled, len(b))
		for _, h := range p.hashes {
			h.Write(b[:n])
		}
		b = b[n:]
		if p.filled += n; p.filled == codedir.PageSize {
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

// end ends the last page. No more bytes may be written.
func (p *pages) end() {
	p.finish()
	p.hashes = [3]hash.Hash{}
}

// pagesOf returns the pages of a file in memory.
func pagesOf(data []byte) *pages {
	p := &pages{}
	p.Write(data)
	p.end()
	return p
}

// stale returns the pages whose slots in the CodeDirectory do not match. whole has the digests of the whole file.
func (p *pages) stale(d *codedir.Directory, whole *FileDigest) []int {
	if d.PageSize == 0 {
		if d.Limit > 0 && !whole.equals(macho.SpecialSlot{HashType: d.HashType, Digest: d.Digests}) {
			return []int{0}
		}
		return nil
	}
	var list []int
	from := pageSums[map[macho.HashType]int{macho.SHA256: 1, macho.SHA256Truncated: 1, macho.SHA384: 2}[d.HashType]]
	for i := range d.Slots {
		sum := p.sums[i*pageSums[3]+from:][:d.HashSize]
		if !bytes.Equal(sum, d.Digests[i*d.HashSize:][:d.HashSize]) {
			list = append(list, i)
		}
	}
	return list
}

// addScript keeps the digest of a file that may be the main executable of a bundle. Other names of the file may have the same
// digest, which therefore keeps its pages.
func (c *Checker) addScript(it *Item, path string) {
	t := &c.tree
	d := it.Digest
	if d == nil || it.Kind != resources.Regular || IsSealedFile(it.Name) {
		return
	}
	dir, _ := splitPath("/" + path)
	outer, name := splitPath(dir)
	main := dir == "" || name == executablesDir[1:] || isBundleName([]byte(name)) || strings.HasSuffix(outer, "/Versions")
	if d.pages == nil && d.size > 0 || !main {
		return
	}
	if d.pages != nil {
		d.pages.end()
	}
	if d.pages != nil && d.pages.full || !c.take(scriptMemory+d.Memory()) {
		return
	}
	if t.scripts == nil {
		t.scripts = map[string]*FileDigest{}
	}
	t.scripts[path] = d
}
