package filter

import (
	"io"
	"slices"

	"narseal/nar"
)

// RunExport is Run for every archive of an export stream. The rules apply to
// the path, the references and the deriver in each trailer too.
//
// Where they are not nil, before is called ahead of each archive, and after
// behind it with what the trailer says in the output.
func (c *Config) RunExport(w *nar.ExportWriter, r *nar.ExportReader, before func(), after func(*nar.Trailer, *Result)) (Result, error) {
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
		if c.Ordered {
			ar.AnyOrder()
		}
		if before != nil {
			before()
		}
		var aw *nar.Writer
		if w != nil {
			if aw, err = w.Next(); err != nil {
				return total, err
			}
		}
		res, err := c.Run(aw, ar)
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
		if after != nil {
			after(t, &res)
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
		c.Rules.replace(b, true, func(_, _, rule int) { counts[rule]++ })
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

// add adds what another run counted.
func (r *Result) add(o *Result) {
	r.Regular += o.Regular
	r.Directory += o.Directory
	r.Symlink += o.Symlink
	r.Images += o.Images
	r.Slices += o.Slices
	r.Hashed += o.Hashed
	r.Repaired += o.Repaired
	r.Unsealed += o.Unsealed
	for i, n := range o.Counts {
		r.Counts[i] += n
	}
}
