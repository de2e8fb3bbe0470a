package filter

import (
	"errors"
	"fmt"
	"io"

	"narseal/filter/spill"
	"narseal/nar"
)

// RunAt runs c on the archive or the export stream in the first size bytes of in, and writes the result to w. If w is
// nil, nothing is written.
//
// It reads in twice: the names first, and then everything, each directory in the order of the new names. So a renamed
// entry neither has to wait for its place nor comes too late for it. in must not change during the run. If the names of
// open directories take too much memory, and a spill file can be opened, RunAt reads the entries in their old order, as
// Run does.
//
// If follow is not nil, RunAt calls it before the second pass with the stream that it would read, and reads the stream
// that follow returns instead, which may count the bytes, for example. moved is -1 if the stream is in, unchanged;
// otherwise it is the offset in in of the first directory list whose entries change places.
func (c *Config) RunAt(w io.Writer, in io.ReaderAt, size int64, follow func(r io.Reader, moved int64) (io.Reader, error)) (Result, error) {
	export, err := isExport(in, size)
	if err != nil {
		return Result{}, err
	}
	o := &order{rules: c.Rules, limit: c.Spill.Limit()/2 + freeNames}
	var full error // too many names
	if c.Rules != nil {
		names := nar.NewSectionReader(in, 0, size)
		if export {
			err = o.addExport(nar.NewExportReader(names))
		} else {
			err = o.add(nar.NewReader(names))
		}
		if errors.Is(err, spill.ErrFull) && c.Spill.Open != nil {
			full, o = err, &order{}
		} else if err != nil {
			return Result{}, err
		}
	}
	var r io.Reader = nar.NewSectionReader(in, 0, size)
	moved := o.moved()
	if moved >= 0 {
		r = o.reader(in, size)
	}
	if follow != nil {
		if r, err = follow(r, moved); err != nil {
			return Result{}, err
		}
	}
	res, err := c.runOrdered(w, r, export, c.Rules != nil && full == nil)
	if rename := (*RenameError)(nil); full != nil && errors.As(err, &rename) && !rename.IsClash() {
		err = fmt.Errorf("%w; the names could not be read first: %w", err, full)
	}
	return res, err
}

// runOrdered runs c on an archive or an export stream. If ordered is set, the entries of r have the order of their new names.
func (c *Config) runOrdered(w io.Writer, r io.Reader, export, ordered bool) (Result, error) {
	if export {
		var xw *nar.ExportWriter
		if w != nil {
			xw = nar.NewExportWriter(w)
		}
		return c.runExport(xw, nar.NewExportReader(r), ordered)
	}
	var nw *nar.Writer
	if w != nil {
		nw = nar.NewWriter(w)
	}
	return c.run(nw, nar.NewReader(r), ordered)
}

// isExport reports whether in has an export stream. Anything else is treated as an archive, so that its Reader reports
// what is wrong.
func isExport(in io.ReaderAt, size int64) (bool, error) {
	head := make([]byte, min(size, 16))
	n, err := in.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return false, err
	}
	return nar.Sniff(head[:n]) == nar.FormatExport, nil
}
