package command

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"narseal/cmd/narseal/internal/report"
)

// refsOutput is how refs writes what an input refers to.
type refsOutput interface {
	write(s *refSet, denied, paths []*reference) error
}

// refsJSON writes one object per line.
type refsJSON struct{ w *bufio.Writer }

func newRefsJSON(w io.Writer) *refsJSON { return &refsJSON{bufio.NewWriter(w)} }

func (o *refsJSON) write(_ *refSet, denied, paths []*reference) error {
	for _, list := range [][]*reference{denied, paths} {
		for _, ref := range list {
			if err := report.WriteLine(o.w, ref.fields); err != nil {
				return err
			}
		}
	}
	return o.w.Flush()
}

// refsText writes a table of the store paths.
type refsText struct {
	w      *tabwriter.Writer
	headed bool
}

func newRefsText(w io.Writer) *refsText {
	return &refsText{w: tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)}
}

func (o *refsText) write(s *refSet, _, paths []*reference) error {
	for _, ref := range paths {
		if !o.headed {
			fmt.Fprintln(o.w, "STORE PATH\tCOUNT\tENCODINGS\tFIRST")
			o.headed = true
		}
		fmt.Fprintf(o.w, "%s\t%d\t%s\t%s\n", ref.storePath(), ref.count, strings.Join(ref.encodingNames(), ","), s.first(ref))
		for _, p := range ref.places[min(1, len(ref.places)):] {
			fmt.Fprintf(o.w, "\t\t\t%s\n", s.where(p))
		}
		if ref.omitted > 0 && len(ref.places) > 0 {
			fmt.Fprintf(o.w, "\t\t\t%s left out\n", report.Plural(ref.omitted, "place", "places"))
		}
	}
	return o.w.Flush()
}

// refsReport is what --report writes: the objects of --format json.
type refsReport struct {
	err        string
	references []*reference
}

func (r *refsReport) write(w io.Writer) error {
	return report.Write(w, func(o *report.Object) {
		o.Field("schema", report.Schema)
		o.Field("command", "refs")
		o.Text("error", r.err)
		report.Objects(o, "references", r.references, func(o *report.Object, ref *reference) { ref.fields(o) })
	})
}
