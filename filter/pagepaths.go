package filter

import (
	"io"
	"slices"

	"narseal/filter/rules"
	"narseal/macho"
	"narseal/nar/storepath"
)

const (
	// maxSearched is how many bytes of the stale pages of a slice NoteStorePaths searches, and maxNotes how many store
	// paths it notes.
	maxSearched = 4 << 20
	maxNotes    = 64
)

// locate sets the Regions and Notes of a report.
func locate(rep *macho.Report, image macho.Image) error {
	if err := rep.Locate(image); err != nil {
		return err
	}
	return NoteStorePaths(rep, image)
}

// NoteStorePaths adds Notes on paths of /nix/store on the stale pages of an image, within bounds: most often, a page is
// stale because the hash in a path was replaced after the image was signed. rep must be the report of image.
// NoteStorePaths does not write to image.
func NoteStorePaths(rep *macho.Report, image macho.Image) error {
	for i := range rep.Slices {
		s := &rep.Slices[i]
		searched := int64(0)
		for _, d := range s.CodeDirectories {
			for _, run := range stalePages(&d, image.Size()-s.Offset) {
				run.Len = min(run.Len, maxSearched-searched)
				if searched += run.Len; run.Len <= 0 {
					break
				}
				if err := noteIn(s, image, run); err != nil {
					return err
				}
			}
			if len(s.Notes) > 0 {
				break // further CodeDirectories have the same pages
			}
		}
	}
	return nil
}

// stalePages returns the runs of stale pages in a slice of this size.
func stalePages(d *macho.CodeDirectory, size int64) (runs []macho.Range) {
	for i, page := range d.Stale {
		if d.PageSize == 0 {
			return []macho.Range{{Off: 0, Len: size}}
		}
		off := int64(page) * d.PageSize
		n := min(d.PageSize, size-off)
		switch {
		case n <= 0:
			return runs
		case i > 0 && d.Stale[i-1] == page-1:
			runs[len(runs)-1].Len += n
		default:
			runs = append(runs, macho.Range{Off: off, Len: n})
		}
	}
	return runs
}

// noteIn notes the store paths that share a byte with a range of a slice.
func noteIn(s *macho.Slice, image macho.Image, run macho.Range) error {
	const dir, widest = "/nix/store", 4 // bytes of a character
	const longest = int64(len(dir)+1+storepath.MaxBaseName) * widest
	from := max(run.Off-longest, 0)
	b := make([]byte, min(run.Off+run.Len+longest, image.Size()-s.Offset)-from)
	if _, err := image.ReadAt(b, s.Offset+from); err != nil && err != io.EOF {
		return err
	}
	rules.ScanStorePaths(b, true, dir, rules.AllEncodings, func(off int, base []byte, enc rules.Encodings) {
		width := map[rules.Encodings]int64{rules.UTF16: 2, rules.UTF32: widest}[enc]
		at := from + int64(off)
		note := macho.Note{Off: max(at, run.Off), Text: dir + "/" + string(base)}
		end := at + int64(len(note.Text))*max(width, 1)
		if len(s.Notes) < maxNotes && at < run.Off+run.Len && end > run.Off && !slices.Contains(s.Notes, note) {
			s.Notes = append(s.Notes, note)
		}
	})
	return nil
}
