package macho

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"hash"
	"runtime"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"narseal/macho/internal/pagehash"
)

const (
	// batchSize is how many bytes of a slice a goroutine takes and reads at a time. It is so large that taking a batch
	// costs almost nothing. Larger pages are hashed one by one.
	batchSize = 256 << 10
	// viewSize is the batch size for a Viewer: mapping costs the system more than reading, and least with huge pages.
	viewSize = 2 << 20
	// slotRun bounds the pages that are hashed together, and the slots that are compared together, for tiny pages.
	slotRun = 4096
	// smallWork is how many bytes justify another goroutine.
	smallWork = 1 << 20
)

// hasher compares slots of one slice with their content. If write is set, it rewrites those that differ.
type hasher struct {
	image  Image
	slice  *slice
	write  bool
	jobs   int // 0: GOMAXPROCS
	hashed atomic.Int64

	mu  sync.Mutex // guards stale of every selection, and err
	err error      // the first one
}

// unit is a piece of work: the pages within [from, to), or if large is set, the one page [from, to).
type unit struct {
	from, to int64
	large    bool
	sels     []*selection
}

// run hashes the selected pages and sets stale of each selection.
func (h *hasher) run(sels []*selection) error {
	batch := int64(batchSize)
	if _, ok := h.image.(Viewer); ok {
		batch = viewSize
	}
	next, total := units(sels, batch)
	jobs := h.jobs
	if jobs <= 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	jobs = int(min(int64(jobs), 1+total/smallWork))
	work := func() {
		w := worker{hasher: h}
		defer func() { h.hashed.Add(w.done) }()
		for u, ok := next(); ok; u, ok = next() {
			if err := w.do(u); err != nil {
				h.fail(err)
			}
			if h.failed() {
				return
			}
		}
	}
	var wg sync.WaitGroup
	for range jobs - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
	for _, sel := range sels {
		// A page may be stale in both arrays of slots.
		slices.Sort(sel.stale)
		sel.stale = slices.Compact(sel.stale)
	}
	return h.err
}

func (h *hasher) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err == nil {
		h.err = err
	}
}

func (h *hasher) failed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err != nil
}

// units returns an iterator over the work for the selections, and about how many bytes that is. Several goroutines may
// call the iterator. Selections that need the same bytes share a unit. Units of small pages end at multiples of batch.
func units(sels []*selection, batch int64) (next func() (unit, bool), total int64) {
	large := map[Range][]*selection{}
	var small []*selection
	var spans []Range // batches with a selected page, in rising order for each selection
	for _, sel := range sels {
		p := sel.dir.pageSize()
		for _, r := range sel.runs {
			first, _ := sel.dir.pageRange(r.page)
			_, last := sel.dir.pageRange(r.page + r.count - 1)
			total += last - first
			if p <= batch {
				first -= first % batch
				spans = append(spans, Range{first, last - first})
				continue
			}
			for i := range r.count {
				from, to := sel.dir.pageRange(r.page + i)
				large[Range{from, to - from}] = append(large[Range{from, to - from}], sel)
			}
		}
		if p <= batch && len(sel.runs) > 0 {
			small = append(small, sel)
		}
	}
	var list []unit
	for r, sels := range large {
		list = append(list, unit{r.Off, r.end(), true, sels})
	}
	sort.Slice(list, func(i, j int) bool { return list[i].from < list[j].from })
	slices.SortFunc(spans, func(a, b Range) int { return int(min(max(a.Off-b.Off, -1), 1)) })

	var mu sync.Mutex
	pos := int64(0) // batches before it are done
	return func() (unit, bool) {
		mu.Lock()
		defer mu.Unlock()
		if len(list) > 0 {
			u := list[0]
			list = list[1:]
			return u, true
		}
		for len(spans) > 0 && spans[0].end() <= pos {
			spans = spans[1:]
		}
		if len(spans) == 0 {
			return unit{}, false
		}
		from := max(pos, spans[0].Off)
		pos = from + batch
		return unit{from, pos, false, small}, true
	}, total
}

// worker does units one after the other. Its buffers serve one goroutine.
type worker struct {
	*hasher
	data   []byte
	stored [2][]byte // of each array of code slots
	parts  []part
	group  []part   // see compareGroup
	pages  [][]byte // of a group
	sums   [][sha256.Size]byte
	done   int64 // bytes hashed
}

// part is a run of pages in a batch.
type part struct {
	sel *selection
	run extent
}

func (w *worker) do(u unit) error {
	if u.large {
		return w.doPage(u)
	}
	return w.doBatch(u)
}

// doBatch hashes the selected pages of a batch. It reads the batch once.
func (w *worker) doBatch(u unit) error {
	parts := w.parts[:0]
	from, to := u.to, u.from
	for _, sel := range u.sels {
		p := sel.dir.pageSize()
		lo, hi := u.from/p, u.to/p
		i := sort.Search(len(sel.runs), func(i int) bool { return sel.runs[i].page+sel.runs[i].count > lo })
		for ; i < len(sel.runs) && sel.runs[i].page < hi; i++ {
			r := sel.runs[i]
			if skip := lo - r.page; skip > 0 {
				r = extent{lo, r.slot + skip, r.count - skip}
			}
			r.count = min(r.count, hi-r.page)
			parts = append(parts, part{sel, r})
			first, _ := sel.dir.pageRange(r.page)
			_, last := sel.dir.pageRange(r.page + r.count - 1)
			from, to = min(from, first), max(to, last)
		}
	}
	w.parts = parts
	if len(parts) == 0 {
		return nil
	}
	return w.look(w.slice.off+from, to-from, func(data []byte) error {
		group, pages := w.group[:0], int64(0)
		defer func() { w.group = group }()
		for _, p := range parts {
			for r := p.run; r.count > 0; {
				n := min(r.count, slotRun-pages)
				group = append(group, part{p.sel, extent{r.page, r.slot, n}})
				r = extent{r.page + n, r.slot + n, r.count - n}
				if pages += n; pages < slotRun {
					continue
				}
				if err := w.compareGroup(group, data, from); err != nil {
					return err
				}
				group, pages = group[:0], 0
			}
		}
		return w.compareGroup(group, data, from)
	})
}

// compareGroup hashes the pages of a group of runs and compares them with their slots. The pages lie in data, which
// begins at from. Pages with SHA-256 are hashed together, across runs.
func (w *worker) compareGroup(group []part, data []byte, from int64) error {
	pages := w.pages[:0]
	for _, p := range group {
		if !p.sel.dir.hashType.isSHA256() {
			continue
		}
		for i := range p.run.count {
			lo, hi := p.sel.dir.pageRange(p.run.page + i)
			pages = append(pages, data[lo-from:hi-from])
		}
	}
	sums := slices.Grow(w.sums[:0], len(pages))[:len(pages)]
	w.pages, w.sums = pages, sums
	pagehash.Sum256(sums, pages)
	clear(pages) // they may lie in a mapping that is about to be removed
	for _, p := range group {
		n := 0
		if p.sel.dir.hashType.isSHA256() {
			n = int(p.run.count)
		}
		if err := w.compare(p.sel, p.run, data, from, sums[:n]); err != nil {
			return err
		}
		sums = sums[n:]
	}
	return nil
}

// compare compares the hashes of a run's pages with their slots. The pages lie in data, which begins at from. Hashes
// that are not in sums are computed.
func (w *worker) compare(sel *selection, run extent, data []byte, from int64, sums [][sha256.Size]byte) error {
	d := sel.dir
	arrays := d.arrays()
	var stored [2][]byte
	for a, array := range arrays {
		var err error
		at := w.slice.off + d.off + array + run.slot*d.hashSize
		if stored[a], err = w.read(&w.stored[a], at, run.count*d.hashSize); err != nil {
			return err
		}
	}
	var other digest
	for i := range run.count {
		lo, hi := d.pageRange(run.page + i)
		w.done += hi - lo
		var sum []byte
		if len(sums) > 0 {
			sum = sums[i][:d.hashSize]
		} else {
			d.hashType.sum(data[lo-from:hi-from], &other)
			sum = other[:d.hashSize]
		}
		for a := range arrays {
			if bytes.Equal(stored[a][i*d.hashSize:(i+1)*d.hashSize], sum) {
				continue
			}
			if err := w.mismatch(sel, a, run.page+i, run.slot+i, sum); err != nil {
				return err
			}
		}
	}
	return nil
}

// doPage hashes one large page for every CodeDirectory that has it.
func (w *worker) doPage(u unit) error {
	hashes := map[HashType]hash.Hash{}
	for _, sel := range u.sels {
		hashes[sel.dir.hashType] = sel.dir.hashType.New()
	}
	for pos := u.from; pos < u.to; {
		data, err := w.read(&w.data, w.slice.off+pos, min(u.to-pos, batchSize))
		if err != nil {
			return err
		}
		for _, h := range hashes {
			h.Write(data)
		}
		pos += int64(len(data))
	}
	w.done += int64(len(hashes)) * (u.to - u.from)
	for _, sel := range u.sels {
		d := sel.dir
		page := u.from / d.pageSize()
		i := sort.Search(len(sel.runs), func(i int) bool { return sel.runs[i].page+sel.runs[i].count > page })
		slot := sel.runs[i].slot + page - sel.runs[i].page
		sum := hashes[d.hashType].Sum(nil)[:d.hashSize]
		for a, array := range d.arrays() {
			stored, err := w.read(&w.stored[a], w.slice.off+d.off+array+slot*d.hashSize, d.hashSize)
			if err != nil {
				return err
			}
			if bytes.Equal(stored, sum) {
				continue
			}
			if err := w.mismatch(sel, a, page, slot, sum); err != nil {
				return err
			}
		}
	}
	return nil
}

// mismatch records that a slot of array a differs from sum, the hash of page. If write is set, it sets the slot.
func (w *worker) mismatch(sel *selection, a int, page, slot int64, sum []byte) error {
	w.mu.Lock()
	sel.stale = append(sel.stale, int(page))
	w.mu.Unlock()
	if !w.write {
		return nil
	}
	d := sel.dir
	return writeFull(w.image, sum, w.slice.off+d.off+d.arrays()[a]+slot*d.hashSize)
}

// look calls f with n bytes at an offset of the image.
func (w *worker) look(off, n int64, f func([]byte) error) error {
	if v, ok := w.image.(Viewer); ok && n >= batchSize {
		called := false
		err := v.View(off, n, func(b []byte) error {
			called = true
			return f(b)
		})
		if called || !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	data, err := w.read(&w.data, off, n)
	if err != nil {
		return err
	}
	return f(data)
}

// read returns n bytes at an offset of the image. It reads them into *buf, or returns them in place if the image is in
// memory.
func (w *worker) read(buf *[]byte, off, n int64) ([]byte, error) {
	if b, ok := w.image.(Bytes); ok {
		return b[off : off+n], nil
	}
	if int64(cap(*buf)) < n {
		*buf = make([]byte, n)
	}
	*buf = (*buf)[:n]
	return *buf, readFull(w.image, *buf, off)
}
