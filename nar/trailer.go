package nar

import (
	"errors"
	"fmt"
	"strings"

	"narseal/nar/storepath"
)

// A Trailer follows an archive in an export stream and describes it. Paths are absolute store paths, of any store.
type Trailer struct {
	Path       string
	References []string // in the order of the stream; Nix sorts them
	Deriver    string   // "" if there is none

	// Signature is an optional field at the end, which Nix before 2.0 could write and later versions skip; nil if there
	// is none.
	Signature []byte
}

// Limits of a trailer. Nix limits only the name of a store path. These bound the memory that a hostile stream can take.
const (
	maxStorePath = MaxTarget // PATH_MAX without its NUL
	maxSignature = 4095      // bytes; that of an RSA key of 4096 bits has 512
	maxTrailer   = 16 << 20  // bytes of references, with 32 added for each
)

var errTrailerSize = fmt.Errorf("the references have more than %d bytes", maxTrailer)

// checkStorePath returns an error unless path is a store path. Any directory may be the store directory, even the root.
func checkStorePath(path string) error {
	if len(path) > maxStorePath {
		return fmt.Errorf("store path has %d bytes, at most %d are allowed", len(path), maxStorePath)
	}
	if !strings.HasPrefix(path, "/") || strings.IndexByte(path, 0) >= 0 {
		return fmt.Errorf("%q is not an absolute path", path)
	}
	if err := storepath.CheckBaseName(path[strings.LastIndexByte(path, '/')+1:]); err != nil {
		return fmt.Errorf("%q is not a store path: %w", path, err)
	}
	return nil
}

// check returns why t cannot be written, or nil.
func (t *Trailer) check() error {
	if err := checkStorePath(t.Path); err != nil {
		return fmt.Errorf("path: %w", err)
	}
	size := 0
	for _, ref := range t.References {
		if err := checkStorePath(ref); err != nil {
			return fmt.Errorf("reference: %w", err)
		}
		if size += len(ref) + 32; size > maxTrailer {
			return errTrailerSize
		}
	}
	if t.Deriver != "" {
		if err := checkStorePath(t.Deriver); err != nil {
			return fmt.Errorf("deriver: %w", err)
		}
	}
	if len(t.Signature) > maxSignature {
		return fmt.Errorf("signature has %d bytes, at most %d are allowed", len(t.Signature), maxSignature)
	}
	return nil
}

// trailer writes a trailer that has passed check.
func (s *sink) trailer(t *Trailer) error {
	if err := s.reserve(maxHead); err != nil {
		return err
	}
	s.number(exportMagic)
	s.str([]byte(t.Path))
	s.number(uint64(len(t.References)))
	for _, ref := range t.References {
		if err := s.reserve(maxHead); err != nil {
			return err
		}
		s.str([]byte(ref))
	}
	if err := s.reserve(maxHead); err != nil {
		return err
	}
	s.str([]byte(t.Deriver))
	if err := s.reserve(maxHead); err != nil {
		return err
	}
	if t.Signature == nil {
		s.number(0)
		return nil
	}
	s.number(1)
	s.str(t.Signature)
	return nil
}

// trailer reads a trailer.
func (s *source) trailer() (*Trailer, error) {
	magic, err := s.number("the trailer's magic")
	if err != nil {
		return nil, err
	}
	if magic != exportMagic {
		return nil, s.bad(0, fmt.Errorf("want the trailer's magic %#x, got %#x", exportMagic, magic))
	}
	s.pos += 8

	t := new(Trailer)
	if t.Path, err = s.storePath("the trailer's path", false); err != nil {
		return nil, err
	}
	n, err := s.number("the number of references")
	if err != nil {
		return nil, err
	}
	s.pos += 8
	size := 0
	for ; n > 0; n-- {
		ref, err := s.storePath("a reference", false)
		if err != nil {
			return nil, err
		}
		if size += len(ref) + 32; size > maxTrailer {
			return nil, s.bad(0, errTrailerSize)
		}
		t.References = append(t.References, ref)
	}
	if t.Deriver, err = s.storePath("the deriver", true); err != nil {
		return nil, err
	}

	signed, err := s.number("0, or 1 before a signature")
	if err != nil {
		return nil, err
	}
	if signed > 1 {
		return nil, s.bad(0, fmt.Errorf("want 0, or 1 before a signature, got %d", signed))
	}
	s.pos += 8
	if signed == 1 {
		sig, err := s.short("the signature", maxSignature)
		if err != nil {
			return nil, err
		}
		t.Signature = append([]byte{}, sig...)
		s.pos += 8 + len(sig) + padding(int64(len(sig)))
	}
	return t, nil
}

// number returns the next u64 without taking it.
func (s *source) number(what string) (uint64, error) { return s.length(0, what) }

// short returns the next string, of at most limit bytes, without taking it.
func (s *source) short(what string, limit int) ([]byte, error) {
	n, err := s.length(0, what)
	if err != nil {
		return nil, err
	}
	if n > uint64(limit) {
		return nil, s.bad(0, fmt.Errorf("%s has %d bytes, at most %d are allowed", what, n, limit))
	}
	return s.str(8, int(n), what)
}

// storePath takes a store path, which may be empty if it is optional.
func (s *source) storePath(what string, optional bool) (string, error) {
	b, err := s.short(what, maxStorePath)
	if err != nil {
		return "", err
	}
	path := string(b)
	if path == "" && !optional {
		return "", s.bad(8, errors.New(what+" is empty"))
	}
	if path != "" {
		if err := checkStorePath(path); err != nil {
			return "", s.bad(8, fmt.Errorf("%s: %w", what, err))
		}
	}
	s.pos += 8 + len(b) + padding(int64(len(b)))
	return path, nil
}
