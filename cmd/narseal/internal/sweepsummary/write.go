package sweepsummary

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"narseal/cmd/narseal/internal/ledger"
	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/terminal"
)

// maxShown is the maximum length of each list in the text and in the HTML report.
const maxShown = 200

// maxShownPath is the maximum length of a path in the text, in bytes. Only its end is shown.
const maxShownPath = 1024

// end returns the part of a path that is shown.
func end(path string) string {
	if len(path) <= maxShownPath {
		return path
	}
	return "…" + strings.ToValidUTF8(path[len(path)-maxShownPath:], "")
}

// headline summarizes the ledgers in one line.
func (s *Summary) headline() string {
	text := fmt.Sprintf("%s, %d with invalid signatures", report.Plural(s.total(), "path", "paths"), s.affected)
	if n := s.Paths[ledger.Failed]; n > 0 {
		text += fmt.Sprintf(", %d failed", n)
	}
	if len(s.Packages) > 0 {
		text += ", in " + report.Plural(int64(len(s.Packages)), "package", "packages")
	}
	return text + fmt.Sprintf(": %s repaired, %d not", report.Plural(s.Repaired, "slice", "slices"), s.Invalid)
}

// WriteText writes the summary as text.
func (s *Summary) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", s.headline())
	if !s.From.IsZero() {
		fmt.Fprintf(&b, "%s, from %s to %s\n", terminal.Printable(s.Work.Command), s.From.UTC().Format(time.RFC3339), s.To.UTC().Format(time.RFC3339))
	}
	for _, status := range s.statuses() {
		fmt.Fprintf(&b, "  %d %s\n", s.Paths[status], terminal.Printable(status))
	}
	if c := s.Closures; c != nil {
		fmt.Fprintf(&b, "closure of %s\n", report.Plural(int64(c.Paths), "path", "paths"))
		for _, text := range c.Problems {
			fmt.Fprintf(&b, "  %s\n", terminal.Printable(text))
		}
	}
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	if len(s.Causes) > 0 {
		fmt.Fprint(t, "\nSIGNATURE\tREPAIRED\tNOT\tPATHS\tCAUSE\n")
		for i := range min(len(s.Causes), maxShown) {
			c := &s.Causes[i]
			fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%s\n", terminal.Printable(c.Signature), c.Repaired, c.Invalid, c.Paths, terminal.Printable(c.Cause))
		}
	}
	if len(s.Packages) > 0 {
		fmt.Fprint(t, "\nPACKAGE\tREPAIRED\tNOT\tPATHS\n")
		for i := range min(len(s.Packages), maxShown) {
			p := &s.Packages[i]
			fmt.Fprintf(t, "%s\t%d\t%d\t%d\n", terminal.Printable(p.Name), p.Repaired, p.Invalid, p.Paths)
		}
	}
	t.Flush()
	if len(s.Unrepaired) > 0 {
		b.WriteString("\nNOT REPAIRED\n")
		for i := range min(len(s.Unrepaired), maxShown) {
			p := &s.Unrepaired[i]
			fmt.Fprintf(&b, "%s\n", terminal.Printable(strings.Join(strings.Fields(p.StorePath+end(p.Path)+" "+p.Arch+" "+p.Status+": "+p.Reason), " ")))
		}
	}
	if c := s.Changes; c != nil {
		fmt.Fprintf(&b, "\n%d new, %d gone, %d as before\n", len(c.New), len(c.Gone), c.Same)
		for i := range min(len(c.New), maxShown) {
			fmt.Fprintf(&b, "+ %s\n", terminal.Printable(c.New[i]))
		}
		for i := range min(len(c.Gone), maxShown) {
			fmt.Fprintf(&b, "- %s\n", terminal.Printable(c.Gone[i]))
		}
	}
	if s.more() {
		fmt.Fprintf(&b, "\nat most %d of each are shown; --format json has all\n", maxShown)
	}
	if s.Omitted > 0 {
		fmt.Fprintf(&b, "\n%s not counted by package and cause\n", report.Plural(s.Omitted, "slice is", "slices are"))
	}
	if s.Unlisted > 0 {
		fmt.Fprintf(&b, "\n%s not listed\n", report.Plural(s.Unlisted, "failed path is", "failed paths are"))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// more reports whether a list is too long to be shown in full.
func (s *Summary) more() bool {
	c := s.Changes
	return max(len(s.Causes), len(s.Packages), len(s.Unrepaired)) > maxShown || c != nil && max(len(c.New), len(c.Gone)) > maxShown
}

// WriteJSON writes the summary as one object.
func (s *Summary) WriteJSON(w io.Writer) error {
	return report.Write(w, func(o *report.Object) {
		o.Field("schema", report.Schema)
		o.Field("command", "cache summary")
		o.Field("work", s.Work)
		if !s.From.IsZero() {
			o.Field("from", s.From.UTC())
			o.Field("to", s.To.UTC())
		}
		o.Field("paths", s.Paths)
		o.Field("slices", map[string]int64{"repaired": s.Repaired, "invalid": s.Invalid})
		if s.Omitted > 0 {
			o.Field("omitted", s.Omitted)
		}
		if s.Unlisted > 0 {
			o.Field("unlisted", s.Unlisted)
		}
		report.Values(o, "packages", s.Packages, func(p *Package) any { return p })
		report.Values(o, "causes", s.Causes, func(c *Cause) any { return c })
		report.Values(o, "unrepaired", s.Unrepaired, func(p *Problem) any { return p })
		if s.Closures != nil {
			o.Field("closure", s.Closures)
		}
		if s.Changes != nil {
			o.Field("changes", s.Changes)
		}
	})
}

//go:embed summary.html
var pageHTML string

// page is parsed on first use, since most commands do not write a page.
var page = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("summary").Funcs(template.FuncMap{"text": terminal.Harmless}).Parse(pageHTML))
})

// WriteHTML writes the summary as a page that loads nothing.
func (s *Summary) WriteHTML(w io.Writer, version string) error {
	first := func(n int) int { return min(n, maxShown) }
	v := struct {
		*Summary
		Headline, Version, Dates string
		More                     bool
		Causes                   []Cause
		Packages                 []Package
		Unrepaired               []Problem
		New, Gone                []string
	}{Summary: s, Headline: s.headline(), Version: version, More: s.more(),
		Causes: s.Causes[:first(len(s.Causes))], Packages: s.Packages[:first(len(s.Packages))], Unrepaired: s.Unrepaired[:first(len(s.Unrepaired))]}
	if !s.From.IsZero() {
		v.Dates = s.From.UTC().Format(time.RFC3339) + " to " + s.To.UTC().Format(time.RFC3339)
	}
	if c := s.Changes; c != nil {
		v.New, v.Gone = c.New[:first(len(c.New))], c.Gone[:first(len(c.Gone))]
	}
	return page().Execute(w, v)
}
