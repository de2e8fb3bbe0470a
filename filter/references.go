package filter

import (
	"fmt"
	"io"
	"strings"

	"narseal/nar"
)

// References finds the store paths that archives and files mention. It keeps
// buffers from one call to the next and serves one goroutine.
type References struct {
	// StoreDir is the folder of the store paths, such as "/nix/store".
	StoreDir string
	// Encodings are those in which it looks for store paths; 0: for none.
	Encodings Encodings
	// Hashes are rules, of which only From counts. As a rule they are hash
	// rules: hash parts that are found wherever they stand, as Nix finds those
	// of disallowedReferences, also without a store path around them. They
	// may be nil.
	Hashes *Rules
	// Found is called for each mention: entry by entry, and of each of the two
	// kinds in the order in which they stand there. Its error ends the search.
	Found func(*Mention) error
	// Deep has packed contents looked into, too. It may be nil.
	Deep *Deep

	diver *diver

	buf []byte // of Contents
	err error  // of Found, or of reading

	// The part that is searched; offsets are in bytes from its start.
	path   func() string
	at     Mention
	member string
	packed string
	base   int64 // of the window
	paths  int64 // where the search for store paths goes on
	hashes int64 // and that for Hashes
}

// A Mention is a place that holds a store path, or one of References.Hashes.
// It is valid during the call that it is given to.
type Mention struct {
	Path string // of the entry, in the input
	// Of a Mention that Deep found, Packed names each level of packing, as in
	// "gzip,tar", and Member is "!" and a member's name for each archive on
	// the way, as in "!META-INF/x". They are empty for what stands in the
	// entry as it is, which is what a rewrite can reach.
	Packed string
	Member string
	Part   Part // of the entry, or of the member
	// Offset is in bytes, from the start of the part to the first character:
	// to that byte of it which is not zero, as the byte order of a wide
	// encoding cannot always be told.
	Offset   int64
	Encoding Encodings // a single one
	// Base is the base name HASH-NAME of a store path, in one byte a
	// character. For one of Hashes it is nil, and Hash the rule's number.
	Base []byte
	Hash int
}

// A Part is what of an entry holds a Mention.
type Part string

// The parts of an entry.
const (
	InContents Part = "contents"
	InTarget   Part = "target"
	InName     Part = "name"
)

// Run searches the contents, targets and names of an archive.
func (f *References) Run(r *nar.Reader) error {
	if err := CheckStoreDir(f.StoreDir); err != nil {
		return err
	}
	path := r.Path // one method value, not one an entry
	for {
		e, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := f.field(path, InName, e.Name); err != nil {
			return err
		}
		if err := f.field(path, InTarget, e.Target); err != nil {
			return err
		}
		if e.Type == nar.TypeRegular {
			if err := f.archived(path, r); err != nil {
				return err
			}
		}
	}
}

// Field searches the name or the target of the entry that has this path.
func (f *References) Field(path string, part Part, b []byte) error {
	if err := CheckStoreDir(f.StoreDir); err != nil {
		return err
	}
	return f.field(func() string { return path }, part, b)
}

// Contents searches a file that has this path, up to its end.
func (f *References) Contents(path string, r io.Reader) error {
	if err := CheckStoreDir(f.StoreDir); err != nil {
		return err
	}
	if err := f.contents(func() string { return path }, r); err != nil {
		if err != f.err {
			err = fmt.Errorf("read %q: offset %d: %w", path, f.base, err)
		}
		return err
	}
	return nil
}

// contents is Contents for a path that is asked for when needed. Where r
// fails, what came before is searched, and the error is r's.
func (f *References) contents(path func() string, r io.Reader) error {
	if f.buf == nil {
		f.buf = make([]byte, refsBuffer)
	}
	f.begin(path, InContents)
	for n, first := 0, true; ; first = false {
		var err error
		for err == nil && n < len(f.buf) {
			var m int
			m, err = r.Read(f.buf[n:])
			n += m
		}
		if first {
			f.dive(f.buf[:n])
		}
		settled := f.window(f.buf[:n], err != nil)
		if f.err == nil && err == nil {
			n = copy(f.buf, f.buf[settled:n])
			continue
		}
		if found := f.surface(); found != nil || err == io.EOF {
			return found
		}
		return err
	}
}

// refsBuffer is how much of a file is searched at a time, in bytes.
const refsBuffer = 256 << 10

// maxStoreDir bounds the length of a store's folder, in bytes: PATH_MAX
// without its NUL.
const maxStoreDir = 4095

// CheckStoreDir tells why dir cannot be References.StoreDir.
func CheckStoreDir(dir string) error {
	if !strings.HasPrefix(dir, "/") || strings.HasSuffix(dir, "/") || len(dir) > maxStoreDir {
		return fmt.Errorf("store folder %q: want an absolute path without a slash at its end", dir)
	}
	return nil
}

// archived searches the contents of the file that r is at.
func (f *References) archived(path func() string, r *nar.Reader) error {
	if r.Remaining() < hashLen {
		return nil
	}
	f.begin(path, InContents)
	want := f.hold()
	if f.Deep != nil {
		want = max(want, headSize)
	}
	for first := true; r.Remaining() > 0 && f.err == nil; first = false {
		b, err := r.Peek(want)
		if err != nil && err != io.EOF {
			f.err = err
			break
		}
		if first {
			f.dive(b)
		}
		r.Discard(f.window(b, int64(len(b)) == r.Remaining()))
	}
	return f.surface()
}

// dive begins to look into the contents that begin with head.
func (f *References) dive(head []byte) {
	if f.Deep == nil {
		return
	}
	if f.diver == nil {
		f.diver = newDiver(f.Deep, f)
	}
	f.diver.begin(f.path, head)
}

// surface ends the contents.
func (f *References) surface() error {
	if f.diver != nil && f.err != nil {
		f.diver.close()
	} else if f.diver != nil {
		f.err = f.diver.end()
	}
	return f.err
}

func (f *References) field(path func() string, part Part, b []byte) error {
	if len(b) < hashLen {
		return nil
	}
	f.begin(path, part)
	f.window(b, true)
	return f.err
}

func (f *References) begin(path func() string, part Part) {
	f.path, f.err = path, nil
	f.at = Mention{Part: part, Member: f.member, Packed: f.packed}
	f.base, f.paths, f.hashes = 0, 0, 0
}

// hold is how many bytes the longest mention can have.
func (f *References) hold() int {
	n := refLen(f.StoreDir, f.Encodings)
	if f.Hashes != nil {
		n = max(n, f.Hashes.maxHold()+1)
	}
	return n
}

// window searches b, the bytes at base, and returns how many of them need not
// be presented again. final says that none follow.
func (f *References) window(b []byte, final bool) (settled int) {
	settled = len(b)
	if f.Encodings != 0 {
		settled = f.storePaths(b, final)
	}
	if f.Hashes != nil {
		settled = min(settled, f.bareHashes(b, final))
	}
	if f.diver != nil {
		f.diver.push(b[:settled])
	}
	f.base += int64(settled)
	return settled
}

func (f *References) storePaths(b []byte, final bool) (settled int) {
	start := int(f.paths - f.base)
	settled = start + ScanRefs(b[start:], final, f.StoreDir, f.Encodings, func(off int, base []byte, enc Encodings) {
		f.found(start+off, enc, base, 0)
	})
	f.paths = f.base + int64(settled)
	return settled
}

func (f *References) bareHashes(b []byte, final bool) (settled int) {
	start := int(f.hashes - f.base)
	settled = start + f.Hashes.Find(b[start:], final, func(off, n, rule int) {
		off += start
		for b[off] == 0 { // the high bytes of a big-endian character
			off++
		}
		f.found(off, Encodings(n/len(f.Hashes.Rule(rule).From)), nil, rule)
	})
	f.hashes = f.base + int64(settled)
	return settled
}

// found reports what stands at off of the window.
func (f *References) found(off int, enc Encodings, base []byte, hash int) {
	if f.at.Path == "" {
		f.at.Path = f.path()
	}
	f.at.Offset = f.base + int64(off)
	f.at.Encoding, f.at.Base, f.at.Hash = enc, base, hash
	if err := f.Found(&f.at); err != nil && f.err == nil {
		f.err = err
	}
}
