package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// page is what help and man pages tell of a command, or of the program.
type page struct {
	name     string // as it is called: narseal cache verify
	usage    string // in one line
	synopsis string
	about    []string // paragraphs
	examples []string // lines, each example's further ones indented
	lists    []list
}

// list is terms with what they mean, under a heading.
type list struct {
	heading string
	items   []item
	options bool
}

type item struct{ term, text string }

const headingCommands = "Commands"

// The groups of options, in the order in which help has them.
const (
	groupRules      = "Rules"
	groupPaths      = "Store paths"
	groupSignatures = "Signatures"
	groupDeep       = "Packed files"
	groupSelection  = "Selection"
	groupInput      = "Input and output"
	groupResources  = "Resources"
	groupReports    = "Reports and messages"
)

var groups = []string{groupRules, groupPaths, groupSignatures, groupDeep, groupSelection, groupInput, groupResources, groupReports}

// groupOf has the group of each option. One name means the same everywhere.
var groupOf = map[string]string{
	"self":                groupPaths,
	"references":          groupPaths,
	"modulo":              groupPaths,
	"path":                groupSelection,
	"since":               groupSelection,
	"trusted-public-keys": groupSelection,
	"secret-key-file":     groupInput,
	"prune":               groupInput,
	"dry-run":             groupInput,
	"map":                 groupRules,
	"map-file":            groupRules,
	"deny":                groupPaths,
	"allow-only":          groupPaths,
	"encodings":           groupPaths,
	"store-dir":           groupPaths,
	"deep":                groupDeep,
	"deep-warn":           groupDeep,
	"deep-depth":          groupDeep,
	"deep-size":           groupDeep,
	"deep-ratio":          groupDeep,
	"repair":              groupSignatures,
	"on-cms":              groupSignatures,
	"in-place":            groupInput,
	"output":              groupInput,
	"compression":         groupInput,
	"level":               groupInput,
	"spool":               groupInput,
	"jobs":                groupResources,
	"hold-memory":         groupResources,
	"format":              groupReports,
	"all":                 groupReports,
	"html":                groupReports,
	"report":              groupReports,
	"progress":            groupReports,
	"quiet":               groupReports,
	"verbose":             groupReports,
	"help":                groupReports,
	"version":             groupReports,
}

// commandPage is the page of a command.
func commandPage(c *cli.Command) *page {
	p := &page{name: c.HelpName, usage: c.Usage, synopsis: c.HelpName}
	p.describe(c.Description)
	if len(c.Subcommands) > 0 {
		p.synopsis += " COMMAND [options]"
		p.listCommands(c.Subcommands)
	} else if len(c.Flags) > 0 {
		p.synopsis += " [options]"
	}
	if c.ArgsUsage != "" {
		p.synopsis += " " + c.ArgsUsage
	}
	p.listOptions(c.Flags)
	return p
}

// appPage is the page of the program.
func appPage(app *cli.App) *page {
	p := &page{name: app.Name, usage: app.Usage, synopsis: app.Name + " COMMAND [options] [INPUT]"}
	p.describe(app.Description)
	p.listCommands(app.Commands)
	p.listOptions(app.Flags)
	p.lists = append(p.lists, exitStatuses, environment)
	return p
}

// describe takes a description apart: paragraphs are separated by empty
// lines, and those that are indented by two blanks are examples.
func (p *page) describe(s string) {
	for _, par := range strings.Split(strings.Trim(s, "\n"), "\n\n") {
		if strings.HasPrefix(par, " ") {
			for line := range strings.Lines(par) {
				p.examples = append(p.examples, strings.TrimRight(line[2:], "\n"))
			}
		} else if par != "" {
			p.about = append(p.about, strings.Join(strings.Fields(par), " "))
		}
	}
}

func (p *page) listCommands(cs []*cli.Command) {
	p.lists = append(p.lists, list{heading: headingCommands, items: commandItems(cs)})
}

func commandItems(cs []*cli.Command) []item {
	var items []item
	for _, c := range cs {
		if !c.Hidden {
			items = append(items, item{c.Name, c.Usage})
		}
	}
	return items
}

// listOptions lists options by their groups; the library puts --help and
// --version among them, or not, as the case may be.
func (p *page) listOptions(flags []cli.Flag) {
	by := map[string][]item{}
	for _, f := range visible(flags) {
		g := groupOf[f.Names()[0]]
		by[g] = append(by[g], item{optionTerm(f), optionText(f)})
	}
	for _, g := range groups {
		heading := g
		if len(by) == 1 {
			heading = "Options"
		}
		if len(by[g]) > 0 {
			p.lists = append(p.lists, list{heading, by[g], true})
		}
	}
}

// visible lists the options that a user is told of, with --help at the end.
func visible(flags []cli.Flag) []cli.Flag {
	flags = slices.DeleteFunc(slices.Clone(flags), func(f cli.Flag) bool {
		v, ok := f.(cli.VisibleFlag)
		return ok && !v.IsVisible() || f.Names()[0] == cli.HelpFlag.Names()[0]
	})
	return append(flags, cli.HelpFlag)
}

// optionTerm is an option as it is written: -o, --output FILE.
func optionTerm(f cli.Flag) string {
	long, short := "--"+f.Names()[0], "    "
	for _, n := range f.Names()[1:] {
		if len(n) == 1 {
			short = "-" + n + ", "
		}
	}
	if v := optionValue(f); v != "" {
		long += " " + v
	}
	return short + long
}

// optionValue is the name of an option's value, or its choices. It is empty
// where the option takes none.
func optionValue(f cli.Flag) string {
	if c, ok := f.(*choiceFlag); ok {
		return strings.Join(c.values, "|")
	}
	if d, ok := f.(cli.DocGenerationFlag); ok && d.TakesValue() {
		value, _ := unquoteUsage(d.GetUsage())
		return value
	}
	return ""
}

func optionText(f cli.Flag) string {
	d := f.(cli.DocGenerationFlag)
	_, text := unquoteUsage(d.GetUsage())
	if s := strings.Trim(d.GetDefaultText(), `"`); d.TakesValue() && s != "" {
		text += " (default: " + s + ")"
	}
	return text
}

// unquoteUsage takes the backquotes from the value's name in a usage.
func unquoteUsage(usage string) (value, text string) {
	before, rest, ok := strings.Cut(usage, "`")
	if !ok {
		return "", usage
	}
	value, after, _ := strings.Cut(rest, "`")
	return value, before + value + after
}

var exitStatuses = list{heading: "Exit status", items: []item{
	{"0", "done, and every signature that the run touched holds"},
	{"1", "an error: bad input, or it could not be read or written"},
	{"2", "wrong usage; nothing was read or written"},
	{"3", "a signature does not hold: verify found it, or rewrite or repair could not, or was not to, reseal it; " +
		"or refs found what may not be there"},
}}

var environment = list{heading: "Environment", items: []item{
	{"TMPDIR", "the folder of temporary files (default: /tmp); none of them has a name that could be left behind"},
	{"TERM", "dumb: no progress unless asked for"},
	{"GITHUB_STEP_SUMMARY", "with --format github, the file to which the job summary is appended"},
}}

// commandAt finds a command by the names that lead to it. Where there is
// none, it returns the last one found and the name that failed.
func commandAt(app *cli.App, names []string) (found *cli.Command, unknown string) {
	cs := app.Commands
	for _, n := range names {
		i := slices.IndexFunc(cs, func(c *cli.Command) bool { return c.HasName(n) })
		if i < 0 {
			return found, n
		}
		found = cs[i]
		cs = found.Subcommands
	}
	return found, ""
}
