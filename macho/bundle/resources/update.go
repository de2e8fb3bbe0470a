package resources

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"narseal/macho"
)

// An Update changes a list in place so that it seals the current files. It changes only digests and the hashes of
// nested code. These have fixed lengths, so the length and form of the list do not change.
type Update struct {
	// Files are the files of the bundle, as in Bundle.
	Files []File
	// Nested returns the main executable of Files[i], a directory that is a nested bundle, or nil.
	Nested func(i int) *File
	// All changes every entry that does not match, not only those of files that the caller has touched.
	All bool
	// Resumed says that an earlier run may have changed nested code before it was killed.
	Resumed bool

	paths   map[string]int
	mains   map[int]*File // results of Nested
	changed map[string]bool
	read    bool // a comparison reads the table that is being changed
}

// change records that an entry changes.
func (u *Update) change(path, key string) {
	u.changed[path] = u.changed[path] || u.read && key != "cdhash"
}

// A CodeHash identifies a CodeDirectory before and after the caller changed it.
type CodeHash struct{ Before, Now [20]byte }

var (
	errShared    = errors.New("the binary property list uses one value for several files that differ now")
	errAmbiguous = errors.New("it seals nested code by hashes that cannot be told apart")
	errText      = errors.New("it has a value that is written in an unusual way")
)

// Apply changes a list that Parse accepts. It returns the paths whose entries it changed. The value is true if a
// comparison reads the change. If the list cannot be changed, Apply returns the reason and leaves the list unchanged.
func (u *Update) Apply(list []byte) (changed map[string]bool, err error) {
	u.paths, u.mains, u.changed = make(map[string]int, len(u.Files)), map[int]*File{}, map[string]bool{}
	for i := range u.Files {
		u.paths[u.Files[i].Path] = i
	}
	var edits []edit
	if bytes.HasPrefix(list, []byte("bplist")) {
		edits, err = u.binary(list)
	} else {
		edits, err = u.xml(list)
	}
	if err != nil {
		return nil, err
	}
	for _, e := range edits {
		copy(list[e.at:], e.data)
	}
	return u.changed, nil
}

// edit replaces bytes of a list. The length does not change.
type edit struct {
	at   int64
	data []byte
}

// digest returns the new value of a digest of an entry. ok is false if there is nothing to compare it with.
func (u *Update) digest(path string, t macho.HashType, old []byte) (sum []byte, ok bool) {
	i, ok := u.paths[path]
	if !ok {
		return nil, false
	}
	f := &u.Files[i]
	if f.Kind != Regular || f.Sums == nil || len(old) != digestSizes[t] || !u.All && !f.Touched {
		return nil, false
	}
	return f.Sums.of(t), true
}

// nested returns the code that an entry seals, or nil if the entry does not change.
func (u *Update) nested(path string) *File {
	i, ok := u.paths[path]
	if !ok {
		return nil
	}
	f := &u.Files[i]
	if f.Kind == Directory {
		main, known := u.mains[i]
		if !known {
			main = u.Nested(i)
			u.mains[i] = main
		}
		if f = main; f == nil {
			return nil
		}
	}
	if len(f.Hashes) == 0 || !u.All && !f.Touched {
		return nil
	}
	return f
}

// renamed maps the old hashes of an entry's nested code to the new ones.
type renamed map[[20]byte][20]byte

// renames maps the hashes of code whose earlier state is known.
func renames(f *File) renamed {
	to := renamed{}
	for _, h := range f.Hashes {
		to[h.Before] = h.Now
	}
	for _, h := range f.Hashes {
		if _, ok := to[h.Now]; !ok {
			to[h.Now] = h.Now
		}
	}
	return to
}

// rename finds the new hashes for those that a requirement names. Hashes of code whose earlier state is known are
// looked up. A single unknown hash must belong to the single hash that is left. In a resumed run, several unknown
// hashes must belong to those that are left; which is which does not matter, because code may have any hash that the
// requirement names.
func rename(f *File, old [][20]byte, resumed bool) (renamed, error) {
	to := renames(f)
	used := map[[20]byte]bool{}
	var unknown [][20]byte
	for _, o := range old {
		if now, ok := to[o]; ok {
			used[now] = true
		} else {
			unknown = append(unknown, o)
		}
	}
	var left [][20]byte
	for _, h := range f.Hashes {
		if !used[h.Now] {
			left = append(left, h.Now)
			used[h.Now] = true
		}
	}
	switch {
	case len(unknown) == 0 || len(left) == 0:
	case len(unknown) == 1 && len(left) == 1, resumed && len(unknown) == len(left):
		for i := range unknown {
			to[unknown[i]] = left[i]
		}
	default:
		return nil, errAmbiguous
	}
	return to, nil
}

// hashText matches the hashes in the text of a requirement in a property list.
var hashText = lazyRegexp(`H(?:"|&quot;|&#34;|&#x22;)([0-9a-fA-F]{40})(?:"|&quot;|&#34;|&#x22;)`)

// certificateWord finds a requirement on a certificate.
var certificateWord = lazyRegexp(`\b(anchor|certificate|cert)\b`)

// unescapeQuotes makes the quotes in the text of a requirement plain.
var unescapeQuotes = strings.NewReplacer("&quot;", `"`, "&#34;", `"`, "&#x22;", `"`)

// isAdHoc reports whether all slices of a file are signed, and none by a certificate.
func (f *File) isAdHoc() bool {
	return len(f.Code) > 0 && !slices.ContainsFunc(f.Code, func(c Code) bool { return !c.AdHoc || len(c.CDHash) == 0 })
}

// requirement returns a requirement that the nested code now meets, of the same length as text, and the hashes that it
// replaced. It returns nil if nothing changes, for example because the code already meets it.
func (u *Update) requirement(f *File, text []byte) ([]byte, renamed, error) {
	if matchCode(unescapeQuotes.Replace(string(text)), f.Code) == "" {
		return nil, renames(f), nil
	}
	found := hashText().FindAllSubmatchIndex(text, -1)
	if len(found) == 0 || certificateWord().Match(text) { // its hashes may be those of certificates
		_, problem := certificateRequirement(unescapeQuotes.Replace(string(text)))
		if !f.MadeAdhoc && !(problem == "" && f.isAdHoc()) {
			return nil, nil, nil
		}
		return replaceRequirement(f, text)
	}
	var old [][20]byte
	for _, m := range found {
		var h [20]byte
		if _, err := hex.Decode(h[:], text[m[2]:m[3]]); err != nil {
			return nil, nil, errText
		}
		old = append(old, h)
	}
	to, err := rename(f, old, u.Resumed)
	if err != nil {
		return nil, nil, err
	}
	out := bytes.Clone(text)
	for i, m := range found {
		now, ok := to[old[i]]
		if !ok || now == old[i] {
			continue
		}
		digits := hex.EncodeToString(now[:])
		if was := string(text[m[2]:m[3]]); was != strings.ToLower(was) {
			digits = strings.ToUpper(digits)
		}
		copy(out[m[2]:m[3]], digits)
	}
	return out, to, nil
}

// replaceRequirement replaces a requirement on a certificate, for code that is now ad-hoc signed, with one on its
// hashes, padded with spaces.
func replaceRequirement(f *File, text []byte) ([]byte, renamed, error) {
	var b []byte
	to := renamed{}
	for i, h := range f.Hashes {
		if i > 0 {
			b = append(b, " or "...)
		}
		b = fmt.Appendf(b, `cdhash H"%x"`, h.Now)
		to[h.Before] = h.Now
	}
	if len(b) > len(text) || bytes.ContainsAny(text, "<&") {
		return nil, nil, errors.New("the requirement on nested code that became ad-hoc signed has no room for its hashes")
	}
	return append(b, bytes.Repeat([]byte{' '}, len(text)-len(b))...), to, nil
}

// codeHash returns the new cdhash of an entry. Verification does not read it.
func codeHash(f *File, to renamed, old []byte) ([]byte, bool) {
	if len(old) != 20 {
		return nil, false
	}
	if now, ok := to[[20]byte(old)]; ok {
		return now[:], true
	}
	if len(f.Hashes) == 1 {
		return f.Hashes[0].Now[:], true
	}
	return nil, false
}
