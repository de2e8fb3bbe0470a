package refs

import (
	"fmt"
	"io"
	"slices"

	"narseal/filter/rules"
	"narseal/nar"
	"narseal/nar/storepath"
)

// A Scanner finds references in archives and files. It keeps buffers between calls and must not be used concurrently.
type Scanner struct {
	// StoreDir is the store directory of the paths, such as "/nix/store".
	StoreDir string
	// Encodings are the encodings in which to search for store paths. If it is 0, only Hashes are found.
	Encodings rules.Encodings
	// Hashes, if not nil, are found anywhere, even outside of store paths and even if they overlap, as Nix does for
	// disallowedReferences. Only the From of each rule matters; it is usually a hash part.
	Hashes *rules.Set
	// Found is called for each reference, entry by entry. Within an entry, references to store paths come in the order
	// of their offsets, and so do references to Hashes. An error ends the search.
	Found func(*Reference) error
	// Unpack, if not nil, makes the Scanner search packed contents, too.
	Unpack *Unpack

	unpacker *Unpacker

	buf []byte // of File
	err error  // of Found, or of reading

	// The current part. Offsets are in bytes from its start.
	path   func() nar.Path
	at     Reference
	member string
	packed string
	base   int64 // of the window
	paths  int64 // offset where the search for store paths continues
	hashes int64 // offset where the search for Hashes continues

	lastAt    int64 // offset where a rule of Hashes was last found
	lastRules []int // the rules that were found there
}

// A Reference is a place that names a store path, or contains one of Scanner.Hashes. It is valid only during the call
// of Found.
type Reference struct {
	Path nar.Path // of the entry, in the input
	// Packed is empty for a reference in the plain contents of the entry, where a rewrite can replace it. For a reference
	// in packed contents, it names the levels of packing, as in "gzip,tar", and Member has "!" and the name of the member
	// for each level that is an archive, as in "!META-INF/x".
	Packed string
	Member string
	Part   Part // of the entry, or of the member
	// Offset is in bytes from the start of the part to the first nonzero byte of the first character. (The byte order of
	// a wide encoding is not always known.)
	Offset   int64
	Encoding rules.Encodings // a single one
	// Base is the base name HASH-NAME of a store path, with one byte per character. It is nil for a reference to one of
	// Hashes.
	Base []byte
	// Hash is the number of a rule of Hashes.
	Hash int
}

// A Part says which part of an entry contains a Reference.
type Part string

// The parts of an entry.
const (
	InContents Part = "contents"
	InTarget   Part = "target"
	InName     Part = "name"
)

// Archive searches the contents, targets and names of an archive.
func (s *Scanner) Archive(r *nar.Reader) error {
	if err := storepath.CheckDir(s.StoreDir); err != nil {
		return err
	}
	path := r.EntryPath // one method value, not one per entry
	for {
		e, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.field(path, InName, e.Name); err != nil {
			return err
		}
		if err := s.field(path, InTarget, e.Target); err != nil {
			return err
		}
		if e.Type == nar.TypeRegular {
			if err := s.entry(path, r); err != nil {
				return err
			}
		}
	}
}

// Incomplete returns how many files and members the Scanner could not search completely with Unpack: limited counts
// those that reached a limit of Unpack, and unreadable those that are damaged, encrypted or packed in an unknown way.
// Unpack.Warn was called for each, but at most ten times per file. A gate must not accept contents that were not
// searched.
func (s *Scanner) Incomplete() (limited, unreadable int64) {
	if s.unpacker == nil {
		return 0, 0
	}
	return s.unpacker.limited, s.unpacker.unreadable
}

// Field searches a name or a target of the entry at path.
func (s *Scanner) Field(path nar.Path, part Part, b []byte) error {
	if err := storepath.CheckDir(s.StoreDir); err != nil {
		return err
	}
	return s.field(func() nar.Path { return path }, part, b)
}

// File searches the contents of a file. path is the Path of the references. If r is a [SparseReader], the holes are
// skipped.
func (s *Scanner) File(path nar.Path, r io.Reader) error {
	if err := storepath.CheckDir(s.StoreDir); err != nil {
		return err
	}
	if err := s.contents(func() nar.Path { return path }, r); err != nil {
		if err != s.err {
			err = fmt.Errorf("read %q: offset %d: %w", path.Short(), s.base, err)
		}
		return err
	}
	return nil
}

// contents is like File, but builds the path only when it is needed. If r fails, contents searches the bytes before the
// error and returns it.
func (s *Scanner) contents(path func() nar.Path, r io.Reader) error {
	if s.buf == nil {
		s.buf = make([]byte, bufferSize)
	}
	s.begin(path, InContents)
	f := source{r: r, zeros: s.longest()}
	f.sparse, _ = r.(SparseReader)
	for n, first := 0, true; ; first = false {
		buf := s.buf
		if first && f.sparse != nil && s.Unpack != nil {
			buf, f.unread = buf[:HeadSize], HeadSize // holes are skipped only when it is known whether the file is packed
		}
		var gap int64
		var err error
		n, gap, err = s.fill(&f, buf, n)
		if first {
			s.beginUnpacking(s.buf[:n])
		}
		settled := s.window(s.buf[:n], err != nil)
		s.base, s.paths, s.hashes = s.base+gap, s.paths+gap, s.hashes+gap
		if s.unpacker != nil && gap > 0 {
			s.unpacker.end.skip(gap)
		}
		if s.err == nil && err == nil {
			n = copy(s.buf, s.buf[settled:n])
			continue
		}
		if found := s.finishUnpacking(); found != nil || err == io.EOF {
			return found
		}
		return err
	}
}

// bufferSize is the number of bytes of a file that are searched at a time.
const bufferSize = 256 << 10

// entry searches the contents of the current file of r.
func (s *Scanner) entry(path func() nar.Path, r *nar.Reader) error {
	if r.Remaining() < storepath.HashLen && s.Unpack == nil || r.Remaining() == 0 {
		return nil
	}
	s.begin(path, InContents)
	want := s.longest()
	if s.Unpack != nil {
		want = max(want, HeadSize)
	}
	for first := true; r.Remaining() > 0 && s.err == nil; first = false {
		b, err := r.Peek(want)
		if err != nil && err != io.EOF {
			s.err = err
			break
		}
		if first {
			s.beginUnpacking(b)
		}
		r.Discard(s.window(b, int64(len(b)) == r.Remaining()))
	}
	return s.finishUnpacking()
}

// beginUnpacking passes the start of the contents to the unpacker.
func (s *Scanner) beginUnpacking(head []byte) {
	if s.Unpack == nil {
		return
	}
	if s.unpacker == nil {
		s.unpacker = NewUnpacker(s.Unpack, s)
	}
	s.unpacker.Begin(s.path, head)
}

// finishUnpacking ends the contents.
func (s *Scanner) finishUnpacking() error {
	if s.unpacker != nil && s.err != nil {
		s.unpacker.Close()
	} else if s.unpacker != nil {
		s.err = s.unpacker.Finish()
	}
	return s.err
}

func (s *Scanner) field(path func() nar.Path, part Part, b []byte) error {
	if len(b) < storepath.HashLen {
		return nil
	}
	s.begin(path, part)
	s.window(b, true)
	return s.err
}

func (s *Scanner) begin(path func() nar.Path, part Part) {
	s.path, s.err = path, nil
	s.at = Reference{Part: part, Member: s.member, Packed: s.packed}
	s.base, s.paths, s.hashes, s.lastAt = 0, 0, 0, -1
}

// longest returns the length in bytes of the longest reference.
func (s *Scanner) longest() int {
	n := (len(s.StoreDir) + 1 + storepath.MaxBaseName) * s.Encodings.Width()
	if s.Hashes != nil {
		n = max(n, s.Hashes.MaxLen())
	}
	return n
}

// window searches b, the bytes at offset base. It returns the number of bytes that are finished; the rest must be
// passed again. final says that no bytes follow.
func (s *Scanner) window(b []byte, final bool) (settled int) {
	settled = len(b)
	if s.Encodings != 0 {
		settled = s.storePaths(b, final)
	}
	if s.Hashes != nil {
		settled = min(settled, s.bareHashes(b, final))
	}
	if s.unpacker != nil {
		s.unpacker.Push(b[:settled])
	}
	s.base += int64(settled)
	return settled
}

func (s *Scanner) storePaths(b []byte, final bool) (settled int) {
	start := int(s.paths - s.base)
	settled = start + rules.ScanStorePaths(b[start:], final, s.StoreDir, s.Encodings, func(off int, base []byte, enc rules.Encodings) {
		s.found(start+off, enc, base, 0)
	})
	s.paths = s.base + int64(settled)
	return settled
}

func (s *Scanner) bareHashes(b []byte, final bool) (settled int) {
	start := int(s.hashes - s.base)
	settled = start + s.Hashes.FindAll(b[start:], final, func(off, n, rule int) {
		off += start
		for b[off] == 0 { // the high bytes of a big-endian character
			off++
		}
		// Text that is complete in both byte orders counts once.
		if at := s.base + int64(off); at != s.lastAt {
			s.lastAt, s.lastRules = at, s.lastRules[:0]
		}
		if !slices.Contains(s.lastRules, rule) {
			s.lastRules = append(s.lastRules, rule)
			s.found(off, rules.Encodings(n/len(s.Hashes.Rule(rule).From)), nil, rule)
		}
	})
	s.hashes = s.base + int64(settled)
	return settled
}

// found reports a reference at offset off in the window.
func (s *Scanner) found(off int, enc rules.Encodings, base []byte, hash int) {
	if s.at.Path == (nar.Path{}) {
		s.at.Path = s.path()
	}
	s.at.Offset = s.base + int64(off)
	s.at.Encoding, s.at.Base, s.at.Hash = enc, base, hash
	if err := s.Found(&s.at); err != nil && s.err == nil {
		s.err = err
	}
}
