package manual

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/mattn/go-runewidth"

	"narseal/cmd/narseal/internal/terminal"
)

const (
	// helpWidth is the width of help that is not written to a terminal. maxHelpWidth is the maximum width on a
	// terminal, because longer lines are hard to read.
	helpWidth    = 80
	maxHelpWidth = 100
	// textColumn is the column of the texts of options. A longer option gets a line of its own.
	textColumn = 28
	// Below the width narrow, each text is printed under its term, at narrowColumn.
	narrow       = 60
	narrowColumn = 6
)

// WriteHelp writes the help of a command for a terminal. It ignores write errors, since nothing can be done about them.
func WriteHelp(out io.Writer, c *Command, style terminal.Style) {
	p := newPage(c)
	p.lists = append(p.lists, c.Notes...)
	h := &helpWriter{bufio.NewWriter(out), style, helpWidth}
	if w := style.Width(); w > 0 {
		h.width = min(w, maxHelpWidth)
	}
	h.page(p)
	_ = h.Flush()
}

// helpWriter writes lines of at most width columns.
type helpWriter struct {
	*bufio.Writer
	style terminal.Style
	width int
}

func (w *helpWriter) page(p *page) {
	w.wrapped(p.name+": "+p.summary, 0, 0, 0)
	fmt.Fprintln(w)
	w.wrapped("Usage: "+p.synopsis, 0, 0, 4)
	for _, par := range p.about {
		fmt.Fprintln(w)
		w.wrapped(par, 0, 0, 0)
	}
	if len(p.examples) > 0 {
		fmt.Fprintf(w, "\n%s\n", w.style.Heading("Examples:"))
		for _, line := range p.examples {
			fmt.Fprintf(w, "  %s\n", line)
		}
	}
	for _, l := range p.lists {
		fmt.Fprintf(w, "\n%s\n", w.style.Heading(l.Heading+":"))
		column := textColumn
		if !l.options {
			column = min(l.column(), textColumn)
		}
		if w.width < narrow {
			column = narrowColumn
		}
		for _, i := range l.Items {
			at := 2 + runewidth.StringWidth(i.Term)
			fmt.Fprintf(w, "  %s", i.Term)
			if at+2 > column {
				fmt.Fprintln(w)
				at = 0
			}
			w.wrapped(i.Text, at, column, column)
		}
	}
}

// column returns the column for the texts of a list that leaves room for its longest term.
func (l *List) column() int {
	column := 0
	for _, i := range l.Items {
		column = max(column, runewidth.StringWidth(i.Term)+4)
	}
	return column
}

// wrapped writes wrapped text and ends the last line. The current line already has at columns; the text begins at the
// column first, and its next lines at the column indent.
func (w *helpWriter) wrapped(text string, at, first, indent int) {
	fmt.Fprint(w, strings.Repeat(" ", max(first-at, 0)))
	at = max(at, first)
	for i, word := range strings.Fields(text) {
		n := runewidth.StringWidth(word)
		switch {
		case i == 0:
		case at+1+n <= w.width:
			fmt.Fprint(w, " ")
			at++
		default:
			fmt.Fprintf(w, "\n%s", strings.Repeat(" ", indent))
			at = indent
		}
		fmt.Fprint(w, word)
		at += n
	}
	fmt.Fprintln(w)
}
