package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/mattn/go-runewidth"
	"github.com/urfave/cli/v2"
)

func init() {
	cli.HelpPrinter = func(w io.Writer, _ string, data any) {
		switch d := data.(type) {
		case *cli.App:
			writeHelp(w, appPage(d))
		case *cli.Command:
			writeHelp(w, commandPage(d))
		}
	}
	cli.HelpFlag = &cli.BoolFlag{Name: "help", Aliases: []string{"h"}, Usage: "show this and do nothing"}
	cli.VersionFlag = &cli.BoolFlag{Name: "version", Usage: "show the version and do nothing"}
	cli.VersionPrinter = func(c *cli.Context) { fmt.Fprintln(c.App.Writer, c.App.Name, c.App.Version) }
}

func helpCommand() *cli.Command {
	return &cli.Command{
		Name:      "help",
		Aliases:   []string{"h"},
		Usage:     "list the commands, or tell about one",
		ArgsUsage: "[COMMAND...]",
		Description: `Without a COMMAND it also tells the exit statuses and what of the environment counts.

  narseal help rewrite`,
		Action: func(c *cli.Context) error {
			command, unknown := commandAt(c.App, c.Args().Slice())
			switch {
			case unknown != "":
				return noCommand(c.App, command, unknown)
			case command == nil:
				return cli.ShowAppHelp(c)
			}
			writeHelp(c.App.Writer, commandPage(command))
			return nil
		},
	}
}

// showHelp writes the page of the command that runs, or of the program.
func showHelp(w io.Writer, c *cli.Context) {
	p := appPage(c.App)
	if c.Command.HelpName != c.App.HelpName {
		p = commandPage(c.Command)
	}
	writeHelp(w, p)
}

const (
	helpWidth = 80
	// textColumn is where the texts of options begin; a longer option has a
	// line of its own.
	textColumn = 28
)

// writeHelp writes a page for a terminal. Errors are not told: nobody has
// anything to do about them.
func writeHelp(out io.Writer, p *page) {
	w := bufio.NewWriter(out)
	defer w.Flush()
	writeWrapped(w, p.name+": "+p.usage, 0, 0)
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
		fmt.Fprintf(w, "\n%s:\n", l.heading)
		column := textColumn
		if !l.options {
			column = l.column()
		}
		for _, i := range l.items {
			at, _ := fmt.Fprintf(w, "  %s", i.term)
			if at+2 > column {
				fmt.Fprintln(w)
				at = 0
			}
			writeWrapped(w, i.text, at, column)
		}
	}
}

// column is where the texts of a list begin, so that the longest term fits.
func (l *list) column() int {
	column := 0
	for _, i := range l.items {
		column = max(column, runewidth.StringWidth(i.term)+4)
	}
	return column
}

// writeWrapped writes text from the column at on, with further lines indented,
// and ends the last line.
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
