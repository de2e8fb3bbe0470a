package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"narseal/cmd/narseal/internal/terminal"
	"narseal/macho/bundle/resources"
)

// table writes a table: slices that are invalid or have a warning, with their slots; with All set, the other slices,
// too.
type table struct {
	w *bufio.Writer
	TableOptions
	headed  bool
	omitted int64
}

const tableRow = "%-11s  %-8s  %-13s"

func (l *table) Add(i *Item) {
	if i.OK() && (l.Quiet || len(i.Warnings) == 0 && !l.All) {
		return
	}
	if !l.headed {
		fmt.Fprintln(l.w, l.Style.Faint(fmt.Sprintf(tableRow, "STATUS", "ARCH", "SIGNATURE")+"  FILE"))
		l.headed = true
	}
	row, file := fmt.Sprintf(tableRow, i.Status, i.Arch, i.Signature.Slice.Signature), terminal.Printable(i.Name())
	status := string(i.Status)
	painted := l.Style.Verdict(status, i.OK()) + row[len(status):]
	if l.Style.Fits(row + "  " + file) {
		fmt.Fprintf(l.w, "%s  %s\n", painted, file)
	} else {
		fmt.Fprintf(l.w, "%s\n  %s\n", strings.TrimRight(painted, " "), file)
	}
	if i.Reason != "" {
		l.indented(terminal.Printable(i.Reason))
	}
	for _, line := range DescribeSlots(&i.Slice) {
		l.indented(line)
	}
	for _, line := range DescribeBundle(&i.Slice, resources.MaxProblems+2) {
		l.indented(line)
	}
	for _, warning := range i.Warnings {
		l.indented("warning: " + terminal.Printable(warning))
	}
	_ = l.w.Flush() // print at once; End returns the error
}

// indented writes details of the line above.
func (l *table) indented(text string) {
	for _, line := range l.Style.Wrap(text, 2) {
		fmt.Fprintf(l.w, "  %s\n", line)
	}
}

func (l *table) Omit(n int64) { l.omitted += n }

func (l *table) Fail(error) {}

func (l *table) End(n *Tally) error {
	if l.omitted > 0 {
		fmt.Fprintln(l.w, omission(l.omitted))
	}
	if bad := n.Invalid > 0 || n.Failed > 0; bad || !l.Quiet {
		verdict := n.Verdict()
		for _, line := range l.Style.Wrap(n.String(), 0) {
			if before, ok := strings.CutSuffix(line, verdict); ok && (bad || n.Slices > 0) {
				line = before + l.Style.Verdict(verdict, !bad)
			}
			fmt.Fprintln(l.w, line)
		}
	}
	writeMend(l.w, &n.Mend, l.Style)
	return l.w.Flush()
}

// writeMend prints how to repair invalid signatures. Each command is on a line of its own, for copying.
func writeMend(w io.Writer, m *Mend, style terminal.Style) {
	for _, note := range m.Notes() {
		for _, line := range style.Wrap(note, 0) {
			fmt.Fprintln(w, line)
		}
	}
	if commands := m.Commands(); commands != nil {
		fmt.Fprintf(w, "To repair:\n")
		for _, c := range commands {
			fmt.Fprintf(w, "  %s\n", style.Command(c))
		}
	}
}
