package cachecmd

import (
	"bytes"
	"errors"
	"io"
	"path"
	"slices"

	"narseal/cmd/narseal/internal/report"
	"narseal/filter/spill"
	"narseal/nar/storepath"
)

// maxPathText limits the bytes of a report's paths that are kept in memory. The rest goes to a temporary file, since
// the cache decides how many paths there are and how long their errors are.
const maxPathText = 1 << 20

// pathReports holds one JSON object for each path of a report, as text. They are written in the order of the hash
// parts.
type pathReports struct {
	open func() (spill.File, error) // a temporary file

	parts []pathPart
	file  spill.File // nil until it is needed
	size  int64      // of the text in file
	text  bytes.Buffer
	err   error
}

// pathPart locates the object of a path. Offsets count from the start of file and continue in text.
type pathPart struct {
	hash   [storepath.HashLen]byte
	offset int64
	length int
}

// add adds the object of a path.
func (p *pathReports) add(storePath string, fields func(*report.Object)) {
	part := pathPart{offset: p.size + int64(p.text.Len())}
	copy(part.hash[:], path.Base(storePath))
	p.fail(report.WriteElement(p, fields))
	part.length = int(p.size + int64(p.text.Len()) - part.offset)
	p.parts = append(p.parts, part)
}

func (p *pathReports) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

// Write implements [io.Writer] for report.WriteElement.
func (p *pathReports) Write(b []byte) (int, error) {
	p.text.Write(b)
	if p.text.Len() <= maxPathText {
		return len(b), nil
	}
	if p.file == nil {
		var err error
		if p.file, err = p.open(); err != nil {
			return 0, err
		}
	}
	n, err := p.file.WriteAt(p.text.Bytes(), p.size)
	p.size += int64(n)
	p.text.Next(n)
	return len(b), err
}

// write writes the objects as a field of o.
func (p *pathReports) write(o *report.Object, name string) {
	slices.SortFunc(p.parts, func(a, b pathPart) int { return bytes.Compare(a.hash[:], b.hash[:]) })
	rest := bytes.NewReader(p.text.Bytes())
	report.Elements(o, name, len(p.parts), func(w io.Writer, i int) error {
		if p.err != nil {
			return p.err
		}
		part := &p.parts[i]
		inFile := min(int64(part.length), max(0, p.size-part.offset))
		if inFile > 0 {
			if _, err := io.Copy(w, io.NewSectionReader(p.file, part.offset, inFile)); err != nil {
				return err
			}
		}
		_, err := io.Copy(w, io.NewSectionReader(rest, part.offset+inFile-p.size, int64(part.length)-inFile))
		return err
	})
	if p.file != nil {
		p.fail(errors.Join(p.err, p.file.Close()))
	}
}
