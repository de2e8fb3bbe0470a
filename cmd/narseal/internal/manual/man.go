package manual

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// A ManPage is a manual page.
type ManPage struct {
	File string // narseal-cache-verify.1
	Data []byte
}

// ManPages returns the manual pages of the program and of each command. Notes that apply to all commands are repeated
// on each page.
func ManPages(program *Command, version string, date time.Time) []ManPage {
	var pages []ManPage
	for _, c := range program.All() {
		p := newPage(c)
		if c == program || len(c.Commands) == 0 {
			p.lists = append(p.lists, program.Notes...)
		}
		pages = append(pages, ManPage{p.manName() + ".1", p.man(version, date)})
	}
	return pages
}

// manName returns the name of the manual page, such as narseal-cache-verify.
func (p *page) manName() string { return strings.ReplaceAll(p.name, " ", "-") }

// program returns the name of the program.
func (p *page) program() string {
	name, _, _ := strings.Cut(p.name, " ")
	return name
}

// man returns the page in the language of man(7). It uses only macros that both groff and mandoc support.
func (p *page) man(version string, date time.Time) []byte {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line(`.\" made by scripts/man`)
	line(`.TH %s 1 "%s" "%s" "%s manual"`, strings.ToUpper(roffLiteral(p.manName())), date.UTC().Format(time.DateOnly), roffLiteral(p.program()+" "+version), p.program())
	line(".SH NAME\n%s \\- %s", roffLiteral(p.manName()), roffText(p.summary))
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
			line(".SH %s", strings.ToUpper(l.Heading))
		case !options:
			options = true
			line(".SH OPTIONS")
			fallthrough
		default:
			if l.Heading != "Options" {
				line(".SS %s", l.Heading)
			}
		}
		for _, i := range l.Items {
			line(".TP\n%s\n%s", l.manTerm(i.Term, p), roffText(i.Text))
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
		parent := p.program()
		if words := strings.Fields(of); len(words) > 1 {
			parent += "-" + words[0]
		}
		line(".SH SEE ALSO\n.BR %s (1)", roffLiteral(parent))
	}
	return b.Bytes()
}

// manTerm formats a term of a list: a command with its page, or an option with its value.
func (l *List) manTerm(term string, p *page) string {
	term = strings.TrimSpace(term)
	if l.Heading == headingCommands {
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

// roffLiteral escapes text that users type or copy from the page, so that it is rendered literally.
func roffLiteral(s string) string {
	return literalEscapes.Replace(roffEscape(s))
}

var literalEscapes = strings.NewReplacer("-", `\-`, "'", `\(aq`, "`", `\(ga`, "~", `\(ti`, "^", `\(ha`)

// optionWord finds options in text.
var optionWord = regexp.MustCompile(`(^|[ (])(--?[a-z][a-z-]*)`)

// roffText formats running text, with options in bold.
func roffText(s string) string {
	s = roffEscape(s)
	return optionWord.ReplaceAllStringFunc(s, func(m string) string {
		i := strings.IndexByte(m, '-')
		return m[:i] + `\fB` + literalEscapes.Replace(m[i:]) + `\fR`
	})
}

// roffEscape escapes special characters in a line.
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
