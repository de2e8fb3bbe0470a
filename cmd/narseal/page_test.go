package main

import (
	"bytes"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mattn/go-runewidth"
	"github.com/urfave/cli/v2"
)

// testApp is the program as it is when an action runs.
func testApp() *cli.App {
	app := newApp(&terminal{stderr: io.Discard})
	app.Writer, app.ErrWriter = io.Discard, io.Discard
	app.Setup()
	return app
}

func TestEveryCommandIsExplained(t *testing.T) {
	app := testApp()
	grouped := map[string]bool{"help": true, "version": true}
	eachCommand(app.Commands, func(c *cli.Command) {
		p := commandPage(c)
		if p.usage == "" || strings.Contains(p.usage, "\n") || strings.HasSuffix(p.usage, ".") || p.usage[0] < 'a' {
			t.Errorf("%s: usage %q is not one line of lower case without a full stop", p.name, p.usage)
		}
		if len(c.Subcommands) == 0 && (len(p.about) == 0 || len(p.examples) == 0) {
			t.Errorf("%s has %d paragraphs and %d lines of examples", p.name, len(p.about), len(p.examples))
		}
		for _, f := range c.Flags {
			name := f.Names()[0]
			if groupOf[name] == "" {
				t.Errorf("%s: --%s belongs to no group", p.name, name)
			}
			grouped[name] = true
			d := f.(cli.DocGenerationFlag)
			if d.GetUsage() == "" {
				t.Errorf("%s: --%s is not explained", p.name, name)
			}
			if v := optionValue(f); d.TakesValue() && v == "" || v != "" && !regexp.MustCompile(`^([A-Z][A-Z|=:-]*|[a-z0-9.-]+(\|[a-z0-9.-]+)+)$`).MatchString(v) {
				t.Errorf("%s: the value of --%s is called %q", p.name, name, v)
			}
		}
		// What the examples call is there.
		for _, words := range callsOfNarseal(p.examples) {
			command, unknown := commandAt(app, commandWords(app, words))
			if command == nil || unknown != "" {
				t.Errorf("%s: an example calls %q", p.name, words)
				continue
			}
			for _, w := range words {
				if strings.HasPrefix(w, "-") && w != "-" && !hasOption(command, w) {
					t.Errorf("%s: an example calls %s with %s", p.name, command.HelpName, w)
				}
			}
		}
	})
	for name := range groupOf {
		if !grouped[name] {
			t.Errorf("no command has --%s", name)
		}
	}
}

// callsOfNarseal finds the arguments of each call in lines of shell.
func callsOfNarseal(lines []string) [][]string {
	var calls [][]string
	for _, part := range strings.FieldsFunc(strings.Join(lines, "\n"), func(r rune) bool { return strings.ContainsRune("|\n;&()", r) }) {
		words := strings.Fields(part)
		if i := slices.Index(words, program); i >= 0 {
			calls = append(calls, words[i+1:])
		}
	}
	return calls
}

// commandWords is the beginning of words that names a command.
func commandWords(app *cli.App, words []string) []string {
	n := 1
	if c := app.Command(words[0]); c != nil && len(c.Subcommands) > 0 {
		n = 2
	}
	return words[:n]
}

func hasOption(c *cli.Command, word string) bool {
	name, _, _ := strings.Cut(strings.TrimLeft(word, "-"), "=")
	return slices.ContainsFunc(c.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
}

// Help fits a terminal of 80 columns.
func TestHelpFits(t *testing.T) {
	app := testApp()
	pages := []*page{appPage(app)}
	eachCommand(app.Commands, func(c *cli.Command) { pages = append(pages, commandPage(c)) })
	for _, p := range pages {
		var b bytes.Buffer
		writeHelp(&b, p)
		for line := range strings.Lines(b.String()) {
			line = strings.TrimSuffix(line, "\n")
			if w := runewidth.StringWidth(line); w > 80 || strings.HasSuffix(line, " ") {
				t.Errorf("%s: %d columns in %q", p.name, w, line)
			}
		}
	}
}

func TestDescriptionIsTakenApart(t *testing.T) {
	var p page
	p.describe("One\nparagraph.\n\n  an example |\n    of two lines\n\nAnother one.\n\n  more\n")
	if want := []string{"One paragraph.", "Another one."}; !slices.Equal(p.about, want) {
		t.Errorf("paragraphs %q, want %q", p.about, want)
	}
	if want := []string{"an example |", "  of two lines", "more"}; !slices.Equal(p.examples, want) {
		t.Errorf("examples %q, want %q", p.examples, want)
	}
}

func TestNearest(t *testing.T) {
	names := []string{"map", "map-file", "output", "repair", "report"}
	for given, want := range map[string]string{
		"mpa": "map", "mapfile": "map-file", "ouput": "output", "reprot": "report", "repairs": "repair",
		"zzz": "", "x": "", "": "",
	} {
		if got := nearest(given, names); got != want {
			t.Errorf("nearest to %q is %q, want %q", given, got, want)
		}
	}
}
