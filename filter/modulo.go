package filter

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"iter"
	"strconv"
	"strings"

	"narseal/macho"
	"narseal/nar"
)

// A Modulo says what of an archive is left out of its content address, so
// that the address can be a part of the archive's own store path. In each
// case the address is the SHA-256 of the archive's bytes with some of them
// made zero, and of what is appended to them.
type Modulo int

const (
	// ModuloNix makes each occurrence of the hash part of the archive's own
	// store path zero, in one byte a character, and appends for each of them
	// "|" and its offset from the start of the archive in decimal. This is
	// HashModuloSink of Nix's src/libstore/references.cc before 2.17 and from
	// 2.35 on.
	ModuloNix Modulo = iota
	// ModuloNix217 is ModuloNix with nothing appended, as in Nix 2.17 to 2.34.
	ModuloNix217
	// ModuloSignatures first makes zero, in each regular file, what
	// macho.DerivedRanges says. Then it makes each occurrence of the hash part
	// zero in all encodings, from left to right; in a wide encoding all of
	// its bytes. For each it appends what ModuloNix appends; for a wide one
	// the offset is that of the first byte that is not zero, and behind it
	// stand "/" and the bytes a character, 2 or 4.
	//
	// So it gives the same as ModuloNix where there is no signed image and
	// no wide occurrence. Archives that differ only in what was sealed, or in
	// an image's LC_UUID, have the same address.
	ModuloSignatures
)

var moduloNames = [...]string{"nix", "nix-2.17", "signatures"}

// ParseModulo reads a name that String returns.
func ParseModulo(s string) (Modulo, error) {
	for i, name := range moduloNames {
		if s == name {
			return Modulo(i), nil
		}
	}
	return 0, fmt.Errorf("%q: want %s", s, strings.Join(moduloNames[:], ", "))
}

// String returns "nix", "nix-2.17" or "signatures".
func (m Modulo) String() string { return moduloNames[m] }

// encodings are those in which the archive's own hash is its own.
func (m Modulo) encodings() Encodings {
	if m == ModuloSignatures {
		return AllEncodings
	}
	return UTF8
}

// moduloHash computes the content address of the archive that is written to
// it. It holds back at most what an occurrence can have.
type moduloHash struct {
	modulo Modulo
	own    *Rules
	sealed *sealedRanges // nil: nothing is sealed
	sum    hash.Hash
	buf    []byte
	base   int64 // offset of buf in the archive
	suffix []byte
	found  int // occurrences
}

// maxOwn bounds the occurrences whose offsets are kept, and so the memory
// that they take, to about 50 MB.
const maxOwn = 1 << 22

func newModuloHash(m Modulo, own string) (*moduloHash, error) {
	rules, err := Compile([]Rule{{own, own}}, m.encodings())
	if err != nil {
		return nil, err
	}
	return &moduloHash{modulo: m, own: rules, sum: sha256.New()}, nil
}

func (m *moduloHash) Write(p []byte) (int, error) {
	fresh := len(m.buf)
	m.buf = append(m.buf, p...)
	if m.sealed != nil {
		if err := m.sealed.zero(m.buf[fresh:], m.base+int64(fresh)); err != nil {
			return 0, err
		}
	}
	m.settle(false)
	if m.found > maxOwn {
		return 0, fmt.Errorf("the archive holds its own hash more than %d times", maxOwn)
	}
	return len(p), nil
}

func (m *moduloHash) settle(final bool) {
	n := m.own.Find(m.buf, final, func(off, n, _ int) {
		m.found++
		width := n / hashLen
		b := m.buf[off : off+n]
		for b[0] == 0 {
			b = b[1:]
			off++
		}
		if m.modulo != ModuloNix217 {
			m.suffix = strconv.AppendInt(append(m.suffix, '|'), m.base+int64(off), 10)
		}
		if width > 1 {
			m.suffix = strconv.AppendInt(append(m.suffix, '/'), int64(width), 10)
		}
		clear(b)
	})
	m.sum.Write(m.buf[:n])
	m.base += int64(n)
	m.buf = m.buf[:copy(m.buf, m.buf[n:])]
}

// address ends the archive.
func (m *moduloHash) address() nar.ContentAddress {
	m.settle(true)
	m.sum.Write(m.suffix)
	return nar.ContentAddress(m.sum.Sum(nil))
}

// sealedRanges are the parts of an archive that ModuloSignatures leaves out,
// found as they are asked for, so that there is no list of them.
type sealedRanges struct {
	next func() (macho.Range, error, bool)
	stop func()
	now  macho.Range // the one at hand, offsets in the archive
	done bool
}

func newSealedRanges(in io.ReaderAt, size int64) *sealedRanges {
	s := &sealedRanges{}
	s.next, s.stop = iter.Pull2(sealedIn(in, size))
	return s
}

// zero makes those of b zero, the bytes of the archive at base. It is called
// for one part of the archive after the other.
func (s *sealedRanges) zero(b []byte, base int64) error {
	for end := base + int64(len(b)); !s.done; {
		if from, to := max(s.now.Off, base), min(s.now.Off+s.now.Len, end); from < to {
			clear(b[from-base : to-base])
		}
		if s.now.Off+s.now.Len > end {
			return nil
		}
		r, err, ok := s.next()
		if err != nil {
			return err
		}
		s.now, s.done = r, !ok
	}
	return nil
}

// sealedIn returns the ranges of an archive, in rising order, and an error as
// the last.
func sealedIn(in io.ReaderAt, size int64) iter.Seq2[macho.Range, error] {
	return func(yield func(macho.Range, error) bool) {
		r := nar.NewReader(newSeekReader(in, size))
		for {
			e, err := r.Next()
			if err == io.EOF {
				return
			}
			if err == nil && e.Type == nar.TypeRegular {
				var ranges []macho.Range
				size := e.Size
				off := r.Offset()
				if ranges, err = sealedInFile(r, in, off, size); err == nil {
					for _, x := range ranges {
						if !yield(macho.Range{Off: off + x.Off, Len: x.Len}, nil) {
							return
						}
					}
				}
			}
			if err != nil {
				yield(macho.Range{}, err)
				return
			}
		}
	}
}

// sealedInFile returns the ranges of the file that r is at, whose contents
// lie at off of in.
func sealedInFile(r *nar.Reader, in io.ReaderAt, off, size int64) ([]macho.Range, error) {
	prefix, err := r.Peek(int(min(size, 8)))
	if err != nil && err != io.EOF {
		return nil, err
	}
	if !macho.IsMachO(prefix) {
		return nil, nil
	}
	ranges, err := macho.DerivedRanges(readOnlyImage{io.NewSectionReader(in, off, size)})
	if err != nil {
		return nil, fmt.Errorf("signature of %q: %w", r.Path(), err)
	}
	return ranges, nil
}

// readOnlyImage is an image that nothing is to be written to.
type readOnlyImage struct{ *io.SectionReader }

func (readOnlyImage) WriteAt([]byte, int64) (int, error) {
	return 0, fmt.Errorf("write to an image that is only read")
}

// seekReader is a part of a file. Package nar passes over contents in it by
// Skip.
type seekReader struct{ *io.SectionReader }

func newSeekReader(in io.ReaderAt, size int64) seekReader {
	return seekReader{io.NewSectionReader(in, 0, size)}
}

func (s seekReader) Skip(n int64) error {
	_, err := s.Seek(n, io.SeekCurrent)
	return err
}
