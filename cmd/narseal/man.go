package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

func manCommand() *cli.Command {
	return &cli.Command{
		Name:      "man",
		Usage:     "write the man pages into a folder",
		ArgsUsage: "DIR",
		Hidden:    true, // packagers call it by way of scripts/man
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return badUsage("", "man takes one DIR, got %d", c.NArg())
			}
			date, err := manDate()
			if err != nil {
				return err
			}
			for _, p := range manPages(c.App) {
				name := filepath.Join(c.Args().First(), p.manName()+".1")
				if err := os.WriteFile(name, p.man(c.App.Version, date), 0o666); err != nil {
					return fmt.Errorf("man: %w", err)
				}
			}
			return nil
		},
	}
}

// manPages are those of the program and of each command, which is read by
// itself: what holds for all of them stands on each.
func manPages(app *cli.App) []*page {
	pages := []*page{appPage(app)}
	eachCommand(app.Commands, func(c *cli.Command) {
		p := commandPage(c)
		if len(c.Subcommands) == 0 {
			p.lists = append(p.lists, exitStatuses, environment)
		}
		pages = append(pages, p)
	})
	return pages
}

// eachCommand calls f for every command that a user is told of, and theirs.
func eachCommand(cs []*cli.Command, f func(*cli.Command)) {
	for _, c := range cs {
		if !c.Hidden {
			f(c)
			eachCommand(c.Subcommands, f)
		}
	}
}

// manDate is the day that the pages bear: that of SOURCE_DATE_EPOCH
// (reproducible-builds.org), or today.
func manDate() (time.Time, error) {
	s := os.Getenv("SOURCE_DATE_EPOCH")
	if s == "" {
		return time.Now(), nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH %q: want seconds", s)
	}
	return time.Unix(n, 0), nil
}

// manName is the name of a page in the manual: narseal-cache-verify.
func (p *page) manName() string { return strings.ReplaceAll(p.name, " ", "-") }

// man is the page in the language of man(7), with the few macros that groff
// and mandoc have in common.
func (p *page) man(version string, date time.Time) []byte {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line(`.\" made by scripts/man`)
	line(`.TH %s 1 "%s" "%s" "%s manual"`, strings.ToUpper(roffLiteral(p.manName())), date.UTC().Format(time.DateOnly), roffLiteral(program+" "+version), program)
	line(".SH NAME\n%s \\- %s", roffLiteral(p.manName()), roffText(p.usage))
	line(".SH SYNOPSIS\n.B %s\n%s", roffLiteral(p.name), roffText(strings.TrimPrefix(p.synopsis, p.name+" ")))
	if len(p.about) > 0 {
		line(".SH DESCRIPTION")
		for i, par := range p.about {
			if i > 0 {
				line(".PP")
			}
			line("%s", roffText(par))
		}
	}
	options := false
	for _, l := range p.lists {
		switch {
		case !l.options:
			line(".SH %s", strings.ToUpper(l.heading))
		case !options:
			options = true
			line(".SH OPTIONS")
			fallthrough
		default:
			if l.heading != "Options" {
				line(".SS %s", l.heading)
			}
		}
		for _, i := range l.items {
			line(".TP\n%s\n%s", l.manTerm(i.term, p), roffText(i.text))
		}
	}
	if len(p.examples) > 0 {
		line(".SH EXAMPLES\n.nf")
		for _, e := range p.examples {
			line("%s", roffLiteral(e))
		}
		line(".fi")
	}
	if _, of, ok := strings.Cut(p.name, " "); ok {
		parent := program
		if words := strings.Fields(of); len(words) > 1 {
			parent += "-" + words[0]
		}
		line(".SH SEE ALSO\n.BR %s (1)", roffLiteral(parent))
	}
	return b.Bytes()
}

// manTerm is a term of a list: a command with its page, or an option with its
// value.
func (l *list) manTerm(term string, p *page) string {
	term = strings.TrimSpace(term)
	if l.heading == headingCommands {
		return ".BR " + roffLiteral(p.manName()+"-"+term) + " (1)"
	}
	names, value := term, ""
	if i := strings.Index(term, "--"); i >= 0 {
		if before, after, ok := strings.Cut(term[i:], " "); ok {
			names, value = term[:i]+before, after
		}
	}
	s := `\fB` + strings.ReplaceAll(roffLiteral(names), ", ", `\fR, \fB`) + `\fR`
	if value != "" {
		s += ` \fI` + roffLiteral(value) + `\fR`
	}
	return s
}

// roffLiteral is s as it is: what could be typed, and copied from a page.
func roffLiteral(s string) string {
	return literalEscapes.Replace(roffEscape(s))
}

var literalEscapes = strings.NewReplacer("-", `\-`, "'", `\(aq`, "`", `\(ga`, "~", `\(ti`, "^", `\(ha`)

// optionWord finds options in text.
var optionWord = regexp.MustCompile(`(^|[ (])(--?[a-z][a-z-]*)`)

// roffText is running text, with options in bold.
func roffText(s string) string {
	s = roffEscape(s)
	return optionWord.ReplaceAllStringFunc(s, func(m string) string {
		i := strings.IndexByte(m, '-')
		return m[:i] + `\fB` + literalEscapes.Replace(m[i:]) + `\fR`
	})
}

// roffEscape has each rune of a line mean itself.
func roffEscape(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == '\\':
			b.WriteString(`\e`)
		case i == 0 && (r == '.' || r == '\''):
			b.WriteString(`\&` + string(r))
		case r > '~':
			fmt.Fprintf(&b, `\[u%04X]`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
