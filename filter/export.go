package filter

import (
	"io"
	"slices"

	"narseal/nar"
)

// RunExport is Run for every archive of an export stream. The rules also apply to the path, the references and the
// deriver in each trailer. The Result is that of all archives together.
func (c *Config) RunExport(w *nar.ExportWriter, r *nar.ExportReader) (Result, error) {
	return c.runExport(w, r, false)
}

// runExport is RunExport for archives whose entries are ordered by their new names, or not.
func (c *Config) runExport(w *nar.ExportWriter, r *nar.ExportReader, ordered bool) (Result, error) {
	total := Result{}
	if c.Rules != nil {
		total.Counts = make([]int64, c.Rules.Len())
	}
	for {
		ar, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return total, err
		}
		if c.Observer.BeginArchive != nil {
			c.Observer.BeginArchive()
		}
		var aw *nar.Writer
		if w != nil {
			if aw, err = w.Next(); err != nil {
				return total, err
			}
		}
		res, err := c.run(aw, ar, ordered)
		total.add(&res)
		if err != nil {
			return total, err
		}
		t, err := r.Trailer()
		if err != nil {
			return total, err
		}
		t = c.trailer(t, total.Counts)
		if w != nil {
			if err := w.WriteTrailer(t); err != nil {
				return total, err
			}
		}
		if c.Observer.EndArchive != nil {
			c.Observer.EndArchive(t, &res)
		}
	}
	if w == nil {
		return total, nil
	}
	return total, w.Close()
}

// trailer applies the rules to a trailer.
func (c *Config) trailer(t *nar.Trailer, counts []int64) *nar.Trailer {
	if c.Rules == nil {
		return t
	}
	replace := func(s string) string {
		b := []byte(s)
		c.Rules.Replace(b, true, func(_, _, rule int) { counts[rule]++ })
		return string(b)
	}
	out := *t
	out.Path, out.Deriver = replace(t.Path), replace(t.Deriver)
	out.References = make([]string, len(t.References))
	for i, ref := range t.References {
		out.References[i] = replace(ref)
	}
	// Nix writes them sorted.
	slices.Sort(out.References)
	return &out
}
