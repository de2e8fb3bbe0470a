package command

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/filter/rules"
)

// refsOutput writes the references of one input.
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

// refsText writes a table of the store paths. Paths with the same hash form a group, because text after a path, such as
// a full stop, looks like a part of its name.
type refsText struct {
	w      *bufio.Writer
	style  terminal.Style
	headed bool
}

func newRefsText(w io.Writer, style terminal.Style) *refsText {
	return &refsText{w: bufio.NewWriter(w), style: style}
}

// refsRow is a line of the table: a store path, or, if path is empty, a further place of it.
type refsRow struct{ path, count, encodings, place string }

func (o *refsText) write(s *refSet, _, paths []*reference) error {
	var rows []refsRow
	for len(paths) > 0 {
		n := 1
		for n < len(paths) && paths[n].sameHash(paths[0]) {
			n++
		}
		rows = s.group(rows, paths[:n])
		paths = paths[n:]
	}
	head := refsRow{"STORE PATH", "COUNT", "ENCODINGS", "FIRST"}
	var widths [3]int
	for _, r := range append(rows[:len(rows):len(rows)], head) {
		for i, cell := range []string{r.path, r.count, r.encodings} {
			widths[i] = max(widths[i], len(cell))
		}
	}
	for i, r := range rows {
		if i == 0 && !o.headed {
			fmt.Fprintln(o.w, o.style.Faint(fmt.Sprintf("%-*s  %-*s  %-*s  %s", widths[0], head.path, widths[1], head.count, widths[2], head.encodings, head.place)))
			o.headed = true
		}
		line := fmt.Sprintf("%-*s  %-*s  %-*s", widths[0], r.path, widths[1], r.count, widths[2], r.encodings)
		switch {
		case o.style.Fits(line + "  " + r.place):
			fmt.Fprintf(o.w, "%s  %s\n", line, r.place)
		case r.path == "":
			fmt.Fprintf(o.w, "    %s\n", r.place)
		default:
			fmt.Fprintf(o.w, "%s  %s  %s\n    %s\n", r.path, r.count, r.encodings, r.place)
		}
	}
	return o.w.Flush()
}

// group appends the rows of one hash: first its most frequent name, with the total count, then the other names, each
// with its own count.
func (s *refSet) group(rows []refsRow, group []*reference) []refsRow {
	group = slices.Clone(group)
	slices.SortStableFunc(group, func(a, b *reference) int {
		return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(len(a.name), len(b.name)))
	})
	var count int64
	var encodings rules.Encodings
	for _, ref := range group {
		count += ref.count
		encodings |= ref.encodings
	}
	for i, ref := range group {
		row := refsRow{"  also " + ref.name, strconv.FormatInt(ref.count, 10), ref.encodings.String(), s.first(ref)}
		if i == 0 {
			row.path, row.count, row.encodings = ref.storePath(), strconv.FormatInt(count, 10), encodings.String()
		}
		rows = append(rows, row)
		for _, p := range ref.places[min(1, len(ref.places)):] {
			rows = append(rows, refsRow{place: s.where(p)})
		}
		if ref.omitted > 0 && len(ref.places) > 0 {
			rows = append(rows, refsRow{place: report.Plural(ref.omitted, "place", "places") + " left out"})
		}
	}
	return rows
}

// sameHash reports whether two store paths have the same hash and are both plain or both hidden.
func (r *reference) sameHash(o *reference) bool {
	return r.hidden == o.hidden && r.name[:strings.IndexByte(r.name, '-')] == o.name[:strings.IndexByte(o.name, '-')]
}

// refsReport is the report that --report writes. It has the same objects as --format json.
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
