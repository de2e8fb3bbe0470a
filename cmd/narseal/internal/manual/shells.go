package manual

import (
	"fmt"
	"io"
	"strings"
)

// shellQuote quotes s as one word for bash, zsh and fish.
func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func bashCompletion(w io.Writer, all []*completed) {
	fmt.Fprint(w, `# bash completion of narseal

_narseal() {
	local cur prev command= IFS=$'\n'
	cur=${COMP_WORDS[COMP_CWORD]}
	prev=${COMP_WORDS[COMP_CWORD - 1]}
	COMPREPLY=()
	# --option=value comes in three words.
	if [[ $cur == = ]]; then
		cur=
	elif [[ $prev == = ]]; then
		prev=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	((COMP_CWORD > 1)) && command=${COMP_WORDS[1]}
	case $command in
`)
	for _, d := range all {
		if len(d.words) == 1 && len(d.commands) > 0 {
			fmt.Fprintf(w, "\t%s) ((COMP_CWORD > 2)) && command+=\" ${COMP_WORDS[2]}\" ;;\n", d.words[0])
		}
	}
	fmt.Fprint(w, "\tesac\n\tcase $command in\n")
	for _, d := range all {
		fmt.Fprintf(w, "\t'%s')\n", strings.Join(d.words, " "))
		d.bash(w)
		fmt.Fprint(w, "\t\t;;\n")
	}
	fmt.Fprint(w, `	esac
}

# Offers words, and no names of files.
_narseal_words() {
	compopt +o default 2>/dev/null # bash 3 has none, and offers files where no word fits
	COMPREPLY=($(compgen -W "$1" -- "$cur"))
}

complete -o default -F _narseal narseal
`)
}

// bash writes the completion of the command. It offers words; the names of files are left to bash.
func (d *completed) bash(w io.Writer) {
	values := map[string][]string{} // options, by the shell code that completes their values
	var order []string
	var options []string
	for _, o := range d.options {
		options = append(options, o.names()...)
		var action string
		switch o.kind {
		case noValue:
			continue
		case fileValue:
			action = "return"
		case freeValue:
			action = "_narseal_words ''; return"
		case choiceValue:
			action = "_narseal_words " + shellLines(o.choices) + "; return"
		}
		if values[action] == nil {
			order = append(order, action)
		}
		values[action] = append(values[action], o.names()...)
	}
	if len(order) > 0 {
		fmt.Fprint(w, "\t\tcase $prev in\n")
		for _, action := range order {
			fmt.Fprintf(w, "\t\t%s) %s ;;\n", strings.Join(values[action], "|"), action)
		}
		fmt.Fprint(w, "\t\tesac\n")
	}
	var words []string
	for _, c := range d.commands {
		words = append(words, c.Term)
	}
	words = append(words, d.choices...)
	fmt.Fprintf(w, "\t\tif [[ $cur == -* ]]; then\n\t\t\t_narseal_words %s\n", shellLines(options))
	if len(words) > 0 || d.args == noValue {
		fmt.Fprintf(w, "\t\telse\n\t\t\t_narseal_words %s\n", shellLines(words))
	}
	fmt.Fprint(w, "\t\tfi\n")
}

// shellLines quotes words as one word of bash, with a line for each.
func shellLines(words []string) string {
	return "$'" + strings.Join(words, `\n`) + "'"
}

func zshCompletion(w io.Writer, all []*completed) {
	fmt.Fprint(w, "#compdef narseal\n\n")
	for _, d := range all {
		d.zsh(w)
	}
	fmt.Fprint(w, `if [ "$funcstack[1]" = _narseal ]; then
	_narseal "$@"
else
	compdef _narseal narseal
fi
`)
}

// zsh writes the completion function of the command.
func (d *completed) zsh(w io.Writer) {
	name := strings.Join(append([]string{"_narseal"}, d.words...), "_")
	fmt.Fprintf(w, "%s() {\n", name)
	nested := len(d.commands) > 0
	if nested {
		fmt.Fprint(w, "\tlocal curcontext=$curcontext state line\n\tlocal -a commands\n\tcommands=(\n")
		for _, c := range d.commands {
			fmt.Fprintf(w, "\t\t%s\n", shellQuote(c.Term+":"+c.Text))
		}
		fmt.Fprint(w, "\t)\n")
	}
	fmt.Fprint(w, "\t_arguments -S -A '-*'")
	if nested {
		fmt.Fprint(w, " -C")
	}
	for _, o := range d.options {
		for _, spec := range o.zsh() {
			fmt.Fprintf(w, " \\\n\t\t%s", spec)
		}
	}
	switch {
	case nested:
		fmt.Fprint(w, " \\\n\t\t'1: :->command' \\\n\t\t'*:: :->argument'\n")
		fmt.Fprintf(w, "\tcase $state in\n\tcommand) _describe command commands ;;\n\targument)\n")
		fmt.Fprintf(w, "\t\t(($+functions[%s_$words[1]])) && %s_$words[1]\n\t\t;;\n\tesac\n", name, name)
	case d.args == choiceValue:
		fmt.Fprintf(w, " \\\n\t\t'1:shell:(%s)'\n", strings.Join(d.choices, " "))
	case d.args == fileValue:
		fmt.Fprint(w, " \\\n\t\t'*:file:_files'\n")
	default:
		fmt.Fprintln(w)
	}
	fmt.Fprint(w, "}\n\n")
}

// zshText escapes text inside the brackets of a specification of _arguments.
var zshText = strings.NewReplacer(`\`, `\\`, "[", `\[`, "]", `\]`, ":", `\:`)

// zsh returns the option's specifications for _arguments, one per name.
func (o *completedOption) zsh() []string {
	exclude := "*"
	if !o.Repeatable {
		exclude = "(" + strings.Join(o.names(), " ") + ")"
	}
	var specs []string
	for _, n := range o.names() {
		s := exclude + n
		if o.kind != noValue && strings.HasPrefix(n, "--") {
			s += "=" // or the next word
		}
		s += "[" + zshText.Replace(o.text()) + "]"
		switch o.kind {
		case freeValue:
			s += ":" + zshText.Replace(o.Value) + ": "
		case fileValue:
			s += ":" + zshText.Replace(o.Value) + ":_files"
		case choiceValue:
			s += ":" + o.Long + ":(" + strings.Join(o.choices, " ") + ")"
		}
		specs = append(specs, shellQuote(s))
	}
	return specs
}

func fishCompletion(w io.Writer, all []*completed) {
	fmt.Fprint(w, `# fish completion of narseal

# Tells whether the command line begins with these words, after narseal.
function __narseal_at
    set -l words (commandline -opc)[2..]
    set -l n (count $argv)
    test $n -eq 0; and return
    test (count $words) -ge $n; and test "$words[1..$n]" = "$argv"
end

# Tells whether it is these words and no more.
function __narseal_only
    set -l words (commandline -opc)
    __narseal_at $argv; and test (count $words) -eq (math 1 + (count $argv))
end

`)
	for _, d := range all {
		d.fish(w)
	}
}

func (d *completed) fish(w io.Writer) {
	line := func(condition, format string, args ...any) {
		words := strings.TrimSpace(condition + " " + strings.Join(d.words, " "))
		fmt.Fprintf(w, "complete -c narseal -n %s %s\n", shellQuote(words), fmt.Sprintf(format, args...))
	}
	for _, c := range d.commands {
		line("__narseal_only", "-f -a %s -d %s", c.Term, fishQuote(c.Text))
	}
	at := "__narseal_at"
	if len(d.commands) > 0 {
		at = "__narseal_only" // after a subcommand, its own options are completed
	}
	switch {
	case d.args == choiceValue:
		line(at, "-f -a %s", fishQuote(strings.Join(d.choices, " ")))
	case len(d.commands) > 0 || d.args != fileValue:
		line(at, "-f")
	}
	for _, o := range d.options {
		s := "-l " + o.Long
		if o.Short != "" {
			s = "-s " + o.Short + " " + s
		}
		switch o.kind {
		case freeValue:
			s += " -x"
		case fileValue:
			s += " -r -F"
		case choiceValue:
			s += " -x -a " + fishQuote(strings.Join(o.choices, " "))
		}
		line(at, "%s -d %s", s, fishQuote(o.text()))
	}
}

// fishQuote quotes s as one word for fish, where a backslash in quotes is special.
func fishQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}
