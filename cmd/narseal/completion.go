package main

import (
	"io"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
)

func completionCommand() *cli.Command {
	shells := map[string]func(io.Writer, []*completed){
		"bash": bashCompletion,
		"zsh":  zshCompletion,
		"fish": fishCompletion,
	}
	return &cli.Command{
		Name:      "completion",
		Usage:     "write a script by which a shell completes narseal's commands and options",
		ArgsUsage: "bash|zsh|fish",
		Description: `Put it where the shell looks for such scripts, or load it when the shell starts.

  narseal completion bash >~/.local/share/bash-completion/completions/narseal
  narseal completion zsh >/usr/local/share/zsh/site-functions/_narseal
  narseal completion fish >~/.config/fish/completions/narseal.fish`,
		Action: func(c *cli.Context) error {
			write := shells[c.Args().First()]
			if write == nil || c.NArg() != 1 {
				got := "nothing"
				if c.Args().Present() {
					got = strconv.Quote(strings.Join(c.Args().Slice(), " "))
				}
				return badUsage(helpHint(c.Command, "places for the script"), "completion wants bash, zsh or fish, got %s", got)
			}
			write(c.App.Writer, completions(c.App))
			return nil
		},
	}
}

// completed is what can follow a command, or the program's name.
type completed struct {
	words    []string // that lead to the command
	commands []item
	options  []completedOption
	args     valueKind
	choices  []string // of the argument
}

type completedOption struct {
	long, short string // without dashes; short may be empty
	text        string
	value       string // its name, empty where there is none
	kind        valueKind
	choices     []string
	repeatable  bool
}

// valueKind says what completes a value.
type valueKind int

const (
	noValue     valueKind = iota
	freeValue             // nothing does
	fileValue             // names of files and folders
	choiceValue           // a few words
)

// completions lists the program and every command.
func completions(app *cli.App) []*completed {
	root := &completed{commands: commandItems(app.Commands)}
	root.addOptions(app.Flags)
	all := []*completed{root}
	eachCommand(app.Commands, func(c *cli.Command) {
		words := strings.Fields(c.HelpName)[1:]
		d := &completed{words: words, commands: commandItems(c.Subcommands)}
		d.addOptions(c.Flags)
		d.args, d.choices = kindOf(c.ArgsUsage)
		all = append(all, d)
	})
	return append(all, helpCompletions(root, all)...)
}

// helpCompletions adds that help is followed by the names of commands.
func helpCompletions(root *completed, all []*completed) []*completed {
	var more []*completed
	for _, d := range all {
		switch {
		case len(d.words) == 1 && d.words[0] == "help":
			d.args, d.commands = noValue, root.commands
		case len(d.words) > 0 && len(d.commands) > 0:
			more = append(more, &completed{words: append([]string{"help"}, d.words...), commands: d.commands})
		}
	}
	return more
}

func (d *completed) addOptions(flags []cli.Flag) {
	for _, f := range visible(flags) {
		o := completedOption{long: f.Names()[0], text: optionText(f), value: optionValue(f)}
		for _, n := range f.Names()[1:] {
			if len(n) == 1 {
				o.short = n
			}
		}
		o.kind, o.choices = kindOf(o.value)
		if s, ok := f.(cli.DocGenerationSliceFlag); ok {
			o.repeatable = s.IsSliceFlag()
		}
		d.options = append(d.options, o)
	}
}

// kindOf tells by the name of a value, as help has it, what completes it.
func kindOf(value string) (valueKind, []string) {
	if value == "" {
		return noValue, nil
	}
	if value == strings.ToLower(value) && strings.Contains(value, "|") {
		return choiceValue, strings.Split(value, "|")
	}
	for _, name := range []string{"FILE", "DIR", "PATH", "INPUT", "CACHE"} {
		if strings.Contains(value, name) {
			return fileValue, nil
		}
	}
	return freeValue, nil
}

// names are the option's, as they are typed.
func (o *completedOption) names() []string {
	if o.short == "" {
		return []string{"--" + o.long}
	}
	return []string{"-" + o.short, "--" + o.long}
}
