package filter

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"sort"

	"narseal/filter/rules"
	"narseal/filter/spill"
	"narseal/nar"
)

// An order records how to move the entries of an input so that each directory is sorted by the names that the rules
// give to its entries. add reads the names, and reader then presents the input with its entries moved.
//
// While names are read, it keeps those of the open directories, and afterwards a record of each entry that moves. Both
// count against limit.
type order struct {
	rules *rules.Set
	limit int64 // bytes of memory
	used  int64
	lists []list
	open  []*directory
	spare directory // memory for the next one
}

// span is a part of the input: bytes from its start.
type span struct{ start, end int64 }

// list is a directory whose entries must be moved. runs are the entries in their new order; adjacent entries are
// joined.
type list struct {
	span
	runs []span
}

// directory is an open directory while names are read.
type directory struct {
	self    string // its name in the input; a path would grow with the depth
	names   []byte // new ones, one after the other
	ends    []int
	starts  []int64
	old     []byte    // the names in the input of the renamed entries, one after the other
	renamed []renamed // by number
	used    int64     // counted in order.used
	dropped bool      // nothing is kept, because the limit was reached before an entry was renamed
}

// renamed is a renamed entry: its number, and where its name ends in directory.old.
type renamed struct{ entry, end int }

const (
	// freeNames is the memory that names may always take, in bytes.
	freeNames = 8 << 20
	// entryMemory is the memory for each entry besides its name, and movedMemory the additional memory for a renamed one.
	entryMemory = 16
	movedMemory = 16 + 8 + 16 // in renamed, in the sorted list, and in a list's runs
	// maxSpare bounds the names of a directory whose memory is reused, in bytes.
	maxSpare = 1 << 20
)

// oldName returns the name in the input of a renamed entry.
func (d *directory) oldName(entry int) (string, bool) {
	i, ok := slices.BinarySearchFunc(d.renamed, entry, func(r renamed, entry int) int { return r.entry - entry })
	if !ok {
		return "", false
	}
	start := 0
	if i > 0 {
		start = d.renamed[i-1].end
	}
	return string(d.old[start:d.renamed[i].end]), true
}

func (d *directory) name(i int) []byte {
	start := 0
	if i > 0 {
		start = d.ends[i-1]
	}
	return d.names[start:d.ends[i]]
}

// closeEntry is the length of the end of a directory inside another: two tokens ")". The root has one.
const closeEntry, closeRoot = 32, 16

// add reads an archive to its end. Offsets are those of r.
func (o *order) add(r *nar.Reader) error {
	depth := 0
	for {
		e, err := r.Next()
		if err != nil && err != io.EOF {
			return err
		}
		if err == io.EOF {
			end := r.Offset() - closeRoot
			for n := depth; n > 0; n-- {
				if err := o.leave(o.open[n-1], end-int64(n-1)*closeEntry); err != nil {
					return err
				}
			}
			slices.SortFunc(o.lists, func(a, b list) int { return int(min(max(a.start-b.start, -1), 1)) })
			return nil
		}
		at := r.EntryOffset()
		for ; depth > e.Depth; depth-- {
			if err := o.leave(o.open[depth-1], at-int64(depth-e.Depth)*closeEntry); err != nil {
				return err
			}
		}
		self := ""
		if e.Type == nar.TypeDirectory {
			self = string(e.Name)
		}
		if depth > 0 {
			if err := o.list(o.open[depth-1], e, at, r); err != nil {
				return err
			}
		}
		if e.Type == nar.TypeDirectory {
			depth++
			o.begin(depth, self)
		}
	}
}

// addExport reads all archives of an export stream.
func (o *order) addExport(x *nar.ExportReader) error {
	for {
		r, err := x.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = o.add(r)
		}
		if err != nil {
			return err
		}
	}
}

// list adds an entry, which r is at, to its directory.
func (o *order) list(d *directory, e *nar.Entry, at int64, r *nar.Reader) error {
	renames := o.rules.Contains(e.Name)
	n := int64(len(e.Name)) + entryMemory
	if renames {
		n += int64(len(e.Name)) + movedMemory
	}
	if o.used+n > o.limit {
		o.drop()
	}
	if d.dropped && !renames {
		return nil
	}
	if d.dropped || o.used+n > o.limit {
		return fmt.Errorf("renamed entries: read the names of the directory of %q: %w: they take more than %d bytes of memory",
			r.Path(), spill.ErrFull, o.limit)
	}
	o.used += n
	d.used += n
	if renames {
		d.old = append(d.old, e.Name...)
		d.renamed = append(d.renamed, renamed{len(d.ends), len(d.old)})
		o.rules.Replace(e.Name, true, func(int, int, int) {})
	}
	d.names = append(d.names, e.Name...)
	d.ends = append(d.ends, len(d.names))
	d.starts = append(d.starts, at)
	return nil
}

// drop drops the entries of open directories in which no entry has been renamed so far.
func (o *order) drop() {
	for _, d := range o.open {
		if d.used > 0 && len(d.renamed) == 0 {
			o.used -= d.used
			*d = directory{self: d.self, dropped: true}
		}
	}
}

// begin starts a directory at this depth. It reuses the memory of the one that ended last.
func (o *order) begin(depth int, self string) {
	if depth > len(o.open) {
		o.open = append(o.open, new(directory))
	}
	d := &o.spare
	*o.open[depth-1] = directory{self: self, names: d.names[:0], ends: d.ends[:0], starts: d.starts[:0], old: d.old[:0], renamed: d.renamed[:0]}
	o.spare = directory{}
}

// end releases the memory of a directory.
func (o *order) end(d *directory) {
	o.used -= d.used
	if self := d.self; len(d.names)+len(d.old) > maxSpare {
		*d = directory{self: self}
	} else {
		o.spare, *d = *d, directory{self: self}
	}
}

// leave closes a directory whose list ends at end.
func (o *order) leave(d *directory, end int64) error {
	defer o.end(d)
	if len(d.renamed) == 0 {
		return nil
	}
	sorted := make([]int, len(d.ends))
	for i := range sorted {
		sorted[i] = i
	}
	slices.SortStableFunc(sorted, func(a, b int) int { return bytes.Compare(d.name(a), d.name(b)) })
	l := list{span: span{d.starts[0], end}}
	for k, i := range sorted {
		if k > 0 && bytes.Equal(d.name(i), d.name(sorted[k-1])) {
			return o.clash(d, sorted[k-1], i)
		}
		s := span{d.starts[i], end}
		if i+1 < len(d.starts) {
			s.end = d.starts[i+1]
		}
		if n := len(l.runs); n > 0 && l.runs[n-1].end == s.start {
			l.runs[n-1].end = s.end
		} else {
			l.runs = append(l.runs, s)
		}
	}
	if len(l.runs) > 1 {
		o.lists = append(o.lists, l)
		o.used += int64(len(l.runs)+3) * 16
	}
	return nil
}

// clash returns the error for two entries of an open directory that would have the same name.
func (o *order) clash(d *directory, other, i int) error {
	from, ok := d.oldName(i)
	if !ok {
		from, _ = d.oldName(other)
	}
	path := nar.NewPath("/")
	for _, dir := range o.open[1 : slices.Index(o.open, d)+1] {
		path = path.Join(dir.self)
	}
	to := string(d.name(i))
	return &RenameError{Path: path.Join(from), From: from, To: to, Err: &nar.OrderError{Name: to, Last: to}}
}

// moved returns the offset of the first directory list whose entries are moved, or -1.
func (o *order) moved() int64 {
	if len(o.lists) == 0 {
		return -1
	}
	return o.lists[0].start
}

// reader presents the first size bytes of in, whose archives were added, with the entries moved.
func (o *order) reader(in io.ReaderAt, size int64) io.Reader {
	m := &movedReader{in: in}
	o.flatten(span{0, size}, 0, &m.spans)
	return m
}

// flatten appends the spans of s, in the order that the lists inside s require. The first of these lists has the number
// from or a higher one.
func (o *order) flatten(s span, from int, out *[]span) {
	add := func(s span) {
		if n := len(*out); n > 0 && (*out)[n-1].end == s.start {
			(*out)[n-1].end = s.end
		} else if s.start < s.end {
			*out = append(*out, s)
		}
	}
	at := func(offset int64) int {
		return from + sort.Search(len(o.lists)-from, func(i int) bool { return o.lists[from+i].start >= offset })
	}
	for i := at(s.start); i < len(o.lists) && o.lists[i].start < s.end; i = at(s.start) {
		l := &o.lists[i]
		add(span{s.start, l.start})
		for _, run := range l.runs {
			o.flatten(run, i+1, out)
		}
		s.start, from = l.end, i+1
	}
	add(s)
}

// movedReader reads spans of an input one after the other.
type movedReader struct {
	in    io.ReaderAt
	spans []span
}

func (m *movedReader) Read(p []byte) (int, error) {
	if len(m.spans) == 0 {
		return 0, io.EOF
	}
	s := &m.spans[0]
	n, err := m.in.ReadAt(p[:min(int64(len(p)), s.end-s.start)], s.start)
	if s.start += int64(n); s.start == s.end {
		m.spans = m.spans[1:]
		return n, nil
	}
	if err == io.EOF {
		err = fmt.Errorf("the input became shorter while it was read: %w", io.ErrUnexpectedEOF)
	}
	return n, err
}
