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

	"narseal/cmd/narseal/internal/manual"
	"narseal/cmd/narseal/internal/terminal"
)

// testApp is the program as it is when an action runs.
func testApp() *cli.App {
	app := newApp(newProcess(nil, io.Discard, io.Discard), nil)
	app.Writer, app.ErrWriter = io.Discard, io.Discard
	app.Setup()
	return app
}

// A call of a command declares no other one, and the command is the same.
func TestOnlyTheCalledCommand(t *testing.T) {
	all := newApp(newProcess(nil, io.Discard, io.Discard), nil)
	help := []string{"completion", "help", "man"} // needs all, or is cheap
	for _, c := range all.Commands {
		want := append([]string{c.Name}, help...)
		if slices.Contains(help, c.Name) {
			want = nil
			for _, c := range all.Commands {
				want = append(want, c.Name)
			}
		}
		var got []string
		for _, c := range newApp(newProcess(nil, io.Discard, io.Discard), []string{c.Name, "--help"}).Commands {
			got = append(got, c.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("a call of %s has the commands %q, want %q", c.Name, got, want)
		}
	}
}

func TestEveryCommandIsExplained(t *testing.T) {
	app := testApp()
	eachCommand(app.Commands, func(c *cli.Command) {
		name := c.HelpName
		if c.Usage == "" || strings.Contains(c.Usage, "\n") || strings.HasSuffix(c.Usage, ".") || c.Usage[0] < 'a' {
			t.Errorf("%s: usage %q is not one line of lower case without a full stop", name, c.Usage)
		}
		about, examples := manual.Describe(c.Description)
		if len(c.Subcommands) == 0 && (len(about) == 0 || len(examples) == 0) {
			t.Errorf("%s has %d paragraphs and %d lines of examples", name, len(about), len(examples))
		}
		for _, f := range c.Flags {
			option := f.Names()[0]
			if g := f.(cli.CategorizableFlag).GetCategory(); !slices.Contains(manual.Groups, g) {
				t.Errorf("%s: --%s belongs to the group %q", name, option, g)
			}
			d := f.(cli.DocGenerationFlag)
			if d.GetUsage() == "" {
				t.Errorf("%s: --%s is not explained", name, option)
			}
			if v := optionValue(f); d.TakesValue() && v == "" || v != "" && !regexp.MustCompile(`^([A-Z][A-Z|=:-]*|[a-z0-9.-]+(\|[a-z0-9.-]+)+)$`).MatchString(v) {
				t.Errorf("%s: the value of --%s is called %q", name, option, v)
			}
		}
		// What the examples call is there.
		for _, words := range callsOfNarseal(examples) {
			command, unknown := commandAt(app, commandWords(app, words))
			if command == nil || unknown != "" {
				t.Errorf("%s: an example calls %q", name, words)
				continue
			}
			for _, w := range words {
				if strings.HasPrefix(w, "-") && w != "-" && !hasOption(command, w) {
					t.Errorf("%s: an example calls %s with %s", name, command.HelpName, w)
				}
			}
		}
	})
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

// eachCommand calls f for every command that is not hidden, and theirs.
func eachCommand(cs []*cli.Command, f func(*cli.Command)) {
	for _, c := range cs {
		if !c.Hidden {
			f(c)
			eachCommand(c.Subcommands, f)
		}
	}
}

// Help fits a terminal of 80 columns.
func TestHelpFits(t *testing.T) {
	for _, c := range programManual(testApp()).All() {
		var b bytes.Buffer
		manual.WriteHelp(&b, c, terminal.Style{})
		for line := range strings.Lines(b.String()) {
			line = strings.TrimSuffix(line, "\n")
			if w := runewidth.StringWidth(line); w > 80 || strings.HasSuffix(line, " ") {
				t.Errorf("%s: %d columns in %q", c.Name, w, line)
			}
		}
	}
}
