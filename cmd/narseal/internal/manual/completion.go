package manual

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Shells lists the shells for which WriteCompletion can write a script.
var Shells = []string{"bash", "zsh", "fish"}

// WriteCompletion writes the script that makes a shell complete the program's commands and options.
func WriteCompletion(w io.Writer, shell string, program *Command) error {
	all := completions(program)
	switch shell {
	case "bash":
		bashCompletion(w, all)
	case "zsh":
		zshCompletion(w, all)
	case "fish":
		fishCompletion(w, all)
	default:
		return fmt.Errorf("no completion for %q", shell)
	}
	return nil
}

// completed describes what can follow a command, or the program's name.
type completed struct {
	words    []string // that lead to the command
	commands []Item
	options  []completedOption
	args     valueKind
	choices  []string // words for the argument, if args is choiceValue
}

type completedOption struct {
	Option
	kind    valueKind
	choices []string
}

// valueKind says how a value is completed.
type valueKind int

const (
	noValue     valueKind = iota
	freeValue             // not completed
	fileValue             // names of files and directories
	choiceValue           // a few words
)

// completions returns the completions of the program and of every command.
func completions(program *Command) []*completed {
	var all []*completed
	for _, c := range program.All() {
		d := &completed{words: strings.Fields(c.Name)[1:], commands: c.items()}
		for _, o := range c.Options {
			kind, choices := kindOf(o.Value)
			d.options = append(d.options, completedOption{o, kind, choices})
		}
		d.args, d.choices = kindOf(c.Arguments)
		all = append(all, d)
	}
	return append(all, helpCompletions(all)...)
}

// helpCompletions makes names of commands follow help. The first element of all is the program.
func helpCompletions(all []*completed) []*completed {
	var more []*completed
	for _, d := range all {
		switch {
		case slices.Equal(d.words, []string{"help"}):
			d.args, d.commands = noValue, all[0].commands
		case len(d.words) > 0 && len(d.commands) > 0:
			more = append(more, &completed{words: append([]string{"help"}, d.words...), commands: d.commands})
		}
	}
	return more
}

// kindOf derives the kind of a value from its name in the help.
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

// names returns the option's names with their dashes.
func (o *completedOption) names() []string {
	if o.Short == "" {
		return []string{"--" + o.Long}
	}
	return []string{"-" + o.Short, "--" + o.Long}
}
