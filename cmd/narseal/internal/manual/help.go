package manual

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/mattn/go-runewidth"
)

const (
	helpWidth = 80
	// textColumn is where the texts of options begin; a longer option has a line of its own.
	textColumn = 28
)

// WriteHelp writes the help of a command for a terminal. It reports no errors: nobody could act on them.
func WriteHelp(out io.Writer, c *Command) {
	p := newPage(c)
	p.lists = append(p.lists, c.Notes...)
	p.writeHelp(out)
}

func (p *page) writeHelp(out io.Writer) {
	w := bufio.NewWriter(out)
	defer w.Flush()
	writeWrapped(w, p.name+": "+p.summary, 0, 0)
	fmt.Fprintf(w, "\nUsage: %s\n", p.synopsis)
	for _, par := range p.about {
		fmt.Fprintln(w)
		writeWrapped(w, par, 0, 0)
	}
	if len(p.examples) > 0 {
		fmt.Fprint(w, "\nExamples:\n")
		for _, line := range p.examples {
			fmt.Fprintf(w, "  %s\n", line)
		}
	}
	for _, l := range p.lists {
		fmt.Fprintf(w, "\n%s:\n", l.Heading)
		column := textColumn
		if !l.options {
			column = l.column()
		}
		for _, i := range l.Items {
			at, _ := fmt.Fprintf(w, "  %s", i.Term)
			if at+2 > column {
				fmt.Fprintln(w)
				at = 0
			}
			writeWrapped(w, i.Text, at, column)
		}
	}
}

// column is where the texts of a list begin, so that the longest term fits.
func (l *List) column() int {
	column := 0
	for _, i := range l.Items {
		column = max(column, runewidth.StringWidth(i.Term)+4)
	}
	return column
}

// writeWrapped writes text from the column at on, with further lines indented, and ends the last line.
func writeWrapped(w io.Writer, text string, at, indent int) {
	fmt.Fprint(w, strings.Repeat(" ", max(indent-at, 0)))
	at = max(at, indent)
	for i, word := range strings.Fields(text) {
		n := runewidth.StringWidth(word)
		switch {
		case i == 0:
		case at+1+n <= helpWidth:
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
