package manual

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Shells are those for which there are completion scripts.
var Shells = []string{"bash", "zsh", "fish"}

// WriteCompletion writes the script by which a shell completes the program's commands and options.
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

// completed is what can follow a command, or the program's name.
type completed struct {
	words    []string // that lead to the command
	commands []Item
	options  []completedOption
	args     valueKind
	choices  []string // of the argument
}

type completedOption struct {
	Option
	kind    valueKind
	choices []string
}

// valueKind says what completes a value.
type valueKind int

const (
	noValue     valueKind = iota
	freeValue             // nothing does
	fileValue             // names of files and directories
	choiceValue           // a few words
)

// completions lists the program and every command.
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

// helpCompletions adds that help is followed by the names of commands. The first of all is the program.
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

// kindOf says what completes a value, by its name in the help.
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
	if o.Short == "" {
		return []string{"--" + o.Long}
	}
	return []string{"-" + o.Short, "--" + o.Long}
}
