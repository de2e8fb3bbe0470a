package nar

import "bytes"

// trail is the stack of names from the root to the current entry. It also checks that the names of a directory increase.
// The names lie end to end in one buffer, so an entry costs no allocation.
type trail struct {
	names []byte
	ends  []int // ends[d] is where the name of depth d+1 ends in names
	// kept are the first names in the form of a Path, as far as one was requested.
	kept []*pathName
}

// dirs returns the number of open directories.
func (t *trail) dirs() int { return len(t.ends) }

// start returns where in names the name of an entry of the innermost open directory begins.
func (t *trail) start() int {
	if d := len(t.ends); d > 1 {
		return t.ends[d-2]
	}
	return 0
}

// last returns the name of the latest entry of the innermost open directory.
func (t *trail) last() []byte { return t.names[t.start():] }

// enter opens a directory.
func (t *trail) enter() { t.ends = append(t.ends, len(t.names)) }

// leave closes the innermost directory. It is then the latest entry of the one around it.
func (t *trail) leave() {
	t.names = t.names[:t.start()]
	t.ends = t.ends[:len(t.ends)-1]
	t.kept = t.kept[:min(len(t.kept), len(t.ends))]
}

// list makes name the latest of the innermost directory. It does so even if it returns an error because name does not
// sort after the previous one, so that path returns the path of the entry with the error.
func (t *trail) list(name []byte) error {
	var err error
	if last := t.last(); bytes.Compare(name, last) <= 0 {
		err = &OrderError{Name: string(name), Last: string(last)}
	}
	t.rename(name)
	return err
}

// rename makes name the latest of the innermost directory, without a check.
func (t *trail) rename(name []byte) {
	t.names = append(t.names[:t.start()], name...)
	t.ends[len(t.ends)-1] = len(t.names)
	t.kept = t.kept[:min(len(t.kept), len(t.ends)-1)]
}

// path returns the path of the latest entry from the archive's root.
func (t *trail) path() string { return t.join(len(t.ends)) }

// entry returns path in the form that is cheap to keep.
func (t *trail) entry() Path {
	last, start := rootName, 0
	if n := len(t.kept); n > 0 {
		last, start = t.kept[n-1], t.ends[n-1]
	}
	for _, end := range t.ends[len(t.kept):] {
		// A directory without entries so far has an empty name at the end.
		if end > start {
			last = last.join(string(t.names[start:end]))
			t.kept = append(t.kept, last)
			start = end
		}
	}
	return Path{last}
}

// dir returns the path of the innermost open directory.
func (t *trail) dir() string { return t.join(len(t.ends) - 1) }

// join returns the path of the first depth names.
func (t *trail) join(depth int) string {
	var b []byte
	start := 0
	for d := 0; d < depth; d++ {
		// A directory without entries so far has an empty name at the end.
		if end := t.ends[d]; end > start {
			b = append(b, '/')
			b = append(b, t.names[start:end]...)
			start = end
		}
	}
	if b == nil {
		return "/"
	}
	return string(b)
}
