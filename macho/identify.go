package macho

import (
	"bytes"
	"fmt"
	"io"
)

// maxIdentifier is the longest identifier that is read, in bytes. codesign uses the names of bundles.
const maxIdentifier = 1024

// cdhashSize is CS_CDHASH_LEN of xnu's cs_blobs.h.
const cdhashSize = 20

// Identify sets the CDHash and the Identifier of the CodeDirectories of each slice whose signature can be parsed. r
// must be the report of image. Identify does not write to image.
func (r *Report) Identify(image Image) error {
	src := newWindow(image)
	all, err := parseContainer(src)
	if err != nil {
		return err
	}
	for i, s := range all {
		if i >= len(r.Slices) || r.Slices[i].Status == StatusMalformed {
			continue
		}
		if err := s.readHeader(src, false); err != nil {
			return err
		}
		if !s.signed() {
			continue
		}
		g, err := s.readSignature(src)
		if err != nil {
			return err
		}
		for k, d := range g.dirs {
			if k >= len(r.Slices[i].CodeDirectories) || d.hashType.size() == 0 {
				continue
			}
			if err := s.identify(image, d, &r.Slices[i].CodeDirectories[k]); err != nil {
				return fmt.Errorf("macho: CodeDirectory at offset %d: %w", s.off+d.off, err)
			}
		}
	}
	return nil
}

func (s *slice) identify(image Image, d *directory, out *CodeDirectory) error {
	sum := d.hashType.New()
	if _, err := io.Copy(sum, io.NewSectionReader(image, s.off+d.off, d.length)); err != nil {
		return err
	}
	out.CDHash = sum.Sum(nil)[:cdhashSize]
	if d.identLen <= 0 || d.identLen > maxIdentifier {
		return nil
	}
	name := make([]byte, d.identLen)
	if _, err := image.ReadAt(name, s.off+d.off+d.identOffset); err != nil && err != io.EOF {
		return err
	}
	out.Identifier = string(bytes.TrimRight(name, "\x00"))
	return nil
}

// Was records in the report of a repair what Identify found before the repair.
func (r *Report) Was(before *Report) {
	for i := range min(len(r.Slices), len(before.Slices)) {
		now, was := &r.Slices[i], &before.Slices[i]
		now.MadeAdhoc = was.Signature == "cms" && now.Signature != "cms"
		for k := range min(len(now.CodeDirectories), len(was.CodeDirectories)) {
			now.CodeDirectories[k].CDHashBefore = was.CodeDirectories[k].CDHash
		}
	}
}
