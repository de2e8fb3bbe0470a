// Package manual renders help, manual pages and shell completion scripts from plain values. It does not depend on how
// commands are declared.
package manual

import "strings"

// A Command is a command of the program, or the program itself.
type Command struct {
	Name        string // in full: "narseal cache verify"
	Summary     string // one line, lower case, no full stop
	Synopsis    string // what follows the name in a call
	Description string // see Describe
	Arguments   string // the names of its arguments: "CACHE", "[INPUT...]", "bash|zsh|fish"
	Options     []Option
	Commands    []*Command
	// Notes are lists that follow the options. Notes of the program are repeated on the manual pages of all commands
	// without subcommands.
	Notes []List
}

// An Option is an option of a command.
type Option struct {
	Long, Short string // without dashes; Short may be empty
	Value       string // the name of its value, or choices separated by bars; empty: it takes no value
	Text        string
	Default     string
	Group       string // see Groups
	Repeatable  bool
}

// A List is a list of terms and their explanations, under a heading.
type List struct {
	Heading string
	Items   []Item

	options bool
}

// An Item is a term and its explanation.
type Item struct{ Term, Text string }

// Word returns the last word of the command's name.
func (c *Command) Word() string { return c.Name[strings.LastIndexByte(c.Name, ' ')+1:] }

// All returns the command and all commands below it.
func (c *Command) All() []*Command {
	all := []*Command{c}
	for _, sub := range c.Commands {
		all = append(all, sub.All()...)
	}
	return all
}

const headingCommands = "Commands"

// page holds the texts of a command's help and manual page.
type page struct {
	name     string
	summary  string
	synopsis string
	about    []string // paragraphs
	examples []string // lines; continuation lines are indented
	lists    []List
}

func newPage(c *Command) *page {
	p := &page{name: c.Name, summary: c.Summary, synopsis: strings.TrimSpace(c.Name + " " + c.Synopsis)}
	p.about, p.examples = Describe(c.Description)
	if len(c.Commands) > 0 {
		p.lists = append(p.lists, List{Heading: headingCommands, Items: c.items()})
	}
	p.listOptions(c.Options)
	return p
}

// Describe splits a description into paragraphs, which empty lines separate. Paragraphs that are indented by two spaces
// consist of lines of examples.
func Describe(s string) (paragraphs, examples []string) {
	for _, par := range strings.Split(strings.Trim(s, "\n"), "\n\n") {
		if strings.HasPrefix(par, " ") {
			for line := range strings.Lines(par) {
				examples = append(examples, strings.TrimRight(line[2:], "\n"))
			}
		} else if par != "" {
			paragraphs = append(paragraphs, strings.Join(strings.Fields(par), " "))
		}
	}
	return paragraphs, examples
}

// items lists the subcommands.
func (c *Command) items() []Item {
	var items []Item
	for _, sub := range c.Commands {
		items = append(items, Item{sub.Word(), sub.Summary})
	}
	return items
}

// listOptions lists options by their groups, in the order of [Groups].
func (p *page) listOptions(options []Option) {
	by := map[string][]Item{}
	for _, o := range options {
		by[o.Group] = append(by[o.Group], Item{o.term(), o.text()})
	}
	for _, g := range Groups {
		heading := g
		if len(by) == 1 {
			heading = "Options"
		}
		if len(by[g]) > 0 {
			p.lists = append(p.lists, List{heading, by[g], true})
		}
	}
}

// The groups of options.
const (
	Rules      = "Rules"
	StorePaths = "Store paths"
	Signatures = "Signatures"
	Packed     = "Packed files"
	Selection  = "Selection"
	InOut      = "Input and output"
	Resources  = "Resources"
	Reports    = "Reports and messages"
)

// Groups lists the groups of options in the order of the help.
var Groups = []string{Rules, StorePaths, Signatures, Packed, Selection, InOut, Resources, Reports}

// term returns an option with its names and value: -o, --output FILE.
func (o *Option) term() string {
	s := "    --" + o.Long
	if o.Short != "" {
		s = "-" + o.Short + ", --" + o.Long
	}
	if o.Value != "" {
		s += " " + o.Value
	}
	return s
}

func (o *Option) text() string {
	if o.Default != "" {
		return o.Text + " (default: " + o.Default + ")"
	}
	return o.Text
}
