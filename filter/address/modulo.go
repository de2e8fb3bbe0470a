package address

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"iter"
	"strconv"
	"strings"

	"narseal/filter/rules"
	"narseal/macho"
	"narseal/nar"
	"narseal/nar/storepath"
)

// A Modulo says what a content address leaves out, so that the archive's own store path can depend on the address. The
// address is the SHA-256 of the archive's bytes, some of which are replaced with zeros, and of a suffix.
type Modulo int

const (
	// ModuloNix zeroes each occurrence of the archive's own hash part, with one byte per character. For each of them,
	// the suffix has "|" and the decimal offset from the start of the archive. This is HashModuloSink in Nix's
	// src/libstore/references.cc before 2.17 and from 2.35 on.
	ModuloNix Modulo = iota
	// ModuloNix217 is like ModuloNix, but without a suffix, as in Nix 2.17 to 2.34.
	ModuloNix217
	// ModuloSignatures first zeroes the ranges of macho.DerivedRanges in each regular file. Then it zeroes each
	// occurrence of the archive's own hash part in all encodings, from left to right. The suffix is like that of
	// ModuloNix. For an occurrence in a wide encoding, the offset is that of the first nonzero byte, and "/" and the
	// number of bytes per character, 2 or 4, follow it.
	//
	// So for an archive without signed images and wide occurrences, the address is that of ModuloNix. Archives that
	// differ only in hashes of signatures, or in the LC_UUID of an image, have the same address.
	ModuloSignatures
)

var moduloNames = [...]string{"nix", "nix-2.17", "signatures"}

// ParseModulo returns the Modulo whose String is s.
func ParseModulo(s string) (Modulo, error) {
	for i, name := range moduloNames {
		if s == name {
			return Modulo(i), nil
		}
	}
	return 0, fmt.Errorf("%q: want %s", s, strings.Join(moduloNames[:], ", "))
}

// String returns "nix", "nix-2.17" or "signatures".
func (m Modulo) String() string {
	if m < 0 || int(m) >= len(moduloNames) {
		return fmt.Sprintf("Modulo(%d)", int(m))
	}
	return moduloNames[m]
}

// encodings returns the encodings in which the archive's own hash part is zeroed.
func (m Modulo) encodings() rules.Encodings {
	if m == ModuloSignatures {
		return rules.AllEncodings
	}
	return rules.UTF8
}

// moduloHash computes the content address of the archive that is written to it. It buffers at most the length of an
// occurrence.
type moduloHash struct {
	modulo Modulo
	own    *rules.Set
	ranges *signatureRanges // nil if signatures are not left out
	sum    hash.Hash
	buf    []byte
	base   int64 // offset of buf in the archive
	suffix []byte
	found  int // occurrences
}

// maxOwn is the maximum number of occurrences, whose offsets then take about 50 MB of memory.
const maxOwn = 1 << 22

func newModuloHash(m Modulo, own string) (*moduloHash, error) {
	set, err := rules.Compile([]rules.Rule{{From: own, To: own}}, m.encodings())
	if err != nil {
		return nil, err
	}
	return &moduloHash{modulo: m, own: set, sum: sha256.New()}, nil
}

func (m *moduloHash) Write(p []byte) (int, error) {
	fresh := len(m.buf)
	m.buf = append(m.buf, p...)
	if m.ranges != nil {
		if err := m.ranges.zero(m.buf[fresh:], m.base+int64(fresh)); err != nil {
			return 0, err
		}
	}
	m.settle(false)
	if m.found > maxOwn {
		return 0, fmt.Errorf("the archive contains its own hash more than %d times", maxOwn)
	}
	return len(p), nil
}

func (m *moduloHash) settle(final bool) {
	n := m.own.Find(m.buf, final, func(off, n, _ int) {
		m.found++
		width := n / storepath.HashLen
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

// address completes the hash and returns the address.
func (m *moduloHash) address() nar.ContentAddress {
	m.settle(true)
	m.sum.Write(m.suffix)
	return nar.ContentAddress(m.sum.Sum(nil))
}

// signatureRanges iterates over the ranges of signatures that ModuloSignatures leaves out. They are found one by one,
// so that they need not fit into memory.
type signatureRanges struct {
	next func() (macho.Range, error, bool)
	stop func()
	now  macho.Range // the current range; offsets are from the start of the archive
	done bool
}

func newSignatureRanges(in io.ReaderAt, size int64) *signatureRanges {
	s := &signatureRanges{}
	s.next, s.stop = iter.Pull2(rangesIn(in, size))
	return s
}

// zero zeroes the ranges in b, the bytes of the archive at offset base. It must be called for consecutive parts of the
// archive.
func (s *signatureRanges) zero(b []byte, base int64) error {
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

// rangesIn returns the ranges of an archive, in ascending order. The last pair may be an error.
func rangesIn(in io.ReaderAt, size int64) iter.Seq2[macho.Range, error] {
	return func(yield func(macho.Range, error) bool) {
		r := nar.NewReader(nar.NewSectionReader(in, 0, size))
		for {
			e, err := r.Next()
			if err == io.EOF {
				return
			}
			if err == nil && e.Type == nar.TypeRegular {
				var ranges []macho.Range
				size := e.Size
				off := r.Offset()
				if ranges, err = rangesInFile(r, in, off, size); err == nil {
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

// rangesInFile returns the ranges of the current file of r, whose contents are at offset off of in.
func rangesInFile(r *nar.Reader, in io.ReaderAt, off, size int64) ([]macho.Range, error) {
	prefix, err := r.Peek(int(min(size, 8)))
	if err != nil && err != io.EOF {
		return nil, err
	}
	if !macho.IsMachO(prefix) {
		return nil, nil
	}
	ranges, err := macho.DerivedRanges(readOnlyImage{io.NewSectionReader(in, off, size)})
	if err != nil {
		return nil, fmt.Errorf("signature of %q: %w", r.EntryPath().Short(), err)
	}
	return ranges, nil
}

// readOnlyImage is an image that is not written to.
type readOnlyImage struct{ *io.SectionReader }

func (readOnlyImage) WriteAt([]byte, int64) (int, error) {
	return 0, fmt.Errorf("write to an image that is only read")
}
