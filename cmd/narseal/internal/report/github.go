package report

import (
	"bufio"
	"cmp"
	"fmt"
	"html"
	"io"
	"os"
	"slices"
	"strings"

	"narseal/cmd/narseal/internal/terminal"
)

// GitHub lists slices for GitHub Actions: an annotation for each slice that is invalid or has a warning, and a job
// summary.
//
// Sources: docs.github.com, "Workflow commands for GitHub Actions"; for the escapes, actions/toolkit
// packages/core/src/command.ts.
type GitHub struct {
	Quiet   bool // print only problems to stdout
	w       *bufio.Writer
	summary string
	rows    []githubRow
	errors  []string // at most maxSummaryRows; further ones are counted
	more    struct{ rows, errors, omitted int64 }
}

type githubRow struct{ name, arch, status, what string }

const (
	maxSummaryRows = 100
	// maxAnnotated is the maximum number of files of a bundle that an annotation names.
	maxAnnotated = 20
	// maxAnnotatedPath is the maximum length of the path of a file on disk that an annotation points to, in bytes.
	maxAnnotatedPath = 1024
	// maxSummary is the maximum size of a summary, in bytes. GitHub accepts 1 MiB per step.
	maxSummary = 900 << 10
	// maxSummaryError is the maximum length of each error in a summary, in bytes.
	maxSummaryError = 4096
)

// NewGitHub returns a list that writes annotations to w, and appends the summary to the file that GITHUB_STEP_SUMMARY
// names. If the name is empty, it writes no summary.
func NewGitHub(w io.Writer, summary string) *GitHub {
	return &GitHub{w: bufio.NewWriter(w), summary: summary}
}

// Add annotates a slice that is invalid or has a warning.
func (g *GitHub) Add(i *Item) {
	if i.OK() && len(i.Warnings) == 0 {
		return
	}
	name := i.Name()
	what := slices.Concat(DescribeSlots(&i.Slice), DescribeBundle(&i.Slice, maxAnnotated), i.Warnings)
	if len(g.rows) < maxSummaryRows {
		g.rows = append(g.rows, githubRow{name, i.Arch, string(i.Status), strings.Join(what, "; ")})
	} else {
		g.more.rows++
	}
	file := i.Input
	if i.OnDisk {
		file = ""
		if i.Path.Len() <= maxAnnotatedPath {
			file = i.StorePath + i.Path.String()
			if i.StorePath != "" {
				file = strings.TrimSuffix(file, "/")
			}
		}
	}
	message := fmt.Sprintf("%s: %s slice at offset %d: %s", terminal.Printable(name), i.Arch, i.Offset, terminal.Harmless(cmp.Or(i.Reason, string(i.Status))))
	level := "error"
	if i.OK() {
		level = "warning"
	}
	g.annotate(level, file, "signature: "+string(i.Status), strings.Join(append([]string{message}, what...), "\n"))
}

// Omit counts slices that are not listed.
func (g *GitHub) Omit(n int64) { g.more.omitted += n }

// Fail annotates an input that could not be read.
func (g *GitHub) Fail(err error) {
	text := err.Error()
	g.annotate("error", "", "narseal", terminal.Harmless(text))
	if len(g.errors) == maxSummaryRows {
		g.more.errors++
		return
	}
	if len(text) > maxSummaryError {
		text = text[:maxSummaryError] + "…"
	}
	g.errors = append(g.errors, strings.Clone(text))
}

// annotate writes an error or a warning. It leaves out the file if that is empty, stdin, or not safe to show in a log.
func (g *GitHub) annotate(level, file, title, message string) {
	properties := "title=" + githubProperty(title)
	if file != "" && file != "-" && terminal.IsHarmless(file) {
		properties = "file=" + githubProperty(file) + "," + properties
	}
	lines := strings.Split(message, "\n")
	for i, line := range lines {
		lines[i] = terminal.Harmless(line) // reasons may contain names
	}
	fmt.Fprintf(g.w, "::%s %s::%s\n", level, properties, githubData(strings.Join(lines, "\n")))
	_ = g.w.Flush() // print at once; End returns the error
}

// End writes the totals and the summary.
func (g *GitHub) End(n *Tally) error {
	if g.more.omitted > 0 {
		fmt.Fprintln(g.w, omission(g.more.omitted))
	}
	if !g.Quiet || n.Invalid > 0 || n.Failed > 0 {
		fmt.Fprintln(g.w, n)
	}
	for _, note := range n.Mend.Notes() {
		fmt.Fprintln(g.w, note)
	}
	for _, c := range n.Mend.Commands() {
		fmt.Fprintf(g.w, "::notice title=To repair::%s\n", githubData(c))
	}
	if err := g.w.Flush(); err != nil {
		return err
	}
	if g.summary == "" {
		return nil
	}
	f, err := os.OpenFile(g.summary, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		return fmt.Errorf("GITHUB_STEP_SUMMARY: %w", err)
	}
	_, err = f.WriteString(g.markdown(n))
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("GITHUB_STEP_SUMMARY: %w", err)
	}
	return nil
}

func (g *GitHub) markdown(n *Tally) string {
	var b strings.Builder
	fmt.Fprintf(&b, "### Signatures\n\n%s\n", n)
	if len(g.rows) > 0 {
		b.WriteString("\n| Status | File | Architecture | Slots |\n|---|---|---|---|\n")
	}
	more := g.more
	add := func(line string, count *int64) {
		if b.Len()+len(line) > maxSummary {
			*count++
			return
		}
		b.WriteString(line)
	}
	for _, r := range g.rows {
		add(fmt.Sprintf("| %s | %s | %s | %s |\n", r.status, markdownCode(r.name), r.arch, markdownText(r.what)), &more.rows)
	}
	if more.rows > 0 {
		fmt.Fprintf(&b, "\nand %d more\n", more.rows)
	}
	if more.omitted > 0 {
		fmt.Fprintf(&b, "\n%s\n", omission(more.omitted))
	}
	if len(g.errors) > 0 {
		b.WriteString("\nNot everything could be read:\n\n")
	}
	for _, e := range g.errors {
		add(fmt.Sprintf("- %s\n", markdownCode(e)), &more.errors)
	}
	if more.errors > 0 {
		fmt.Fprintf(&b, "- and %d more\n", more.errors)
	}
	for _, note := range n.Mend.Notes() {
		fmt.Fprintf(&b, "\n%s\n", markdownText(note))
	}
	if commands := n.Mend.Commands(); commands != nil {
		b.WriteString("\nTo repair:\n")
		for _, c := range commands {
			fmt.Fprintf(&b, "\n<pre>%s</pre>\n", markdownText(c))
		}
	}
	return b.String()
}

var (
	githubData     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace
	githubProperty = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C").Replace
)

// markdownText escapes s for a cell of a table. Markdown's special characters become HTML entities.
func markdownText(s string) string {
	s = html.EscapeString(terminal.Printable(s))
	return markdownActive.Replace(s)
}

var markdownActive = strings.NewReplacer("|", "&#124;", "`", "&#96;", "*", "&#42;", "_", "&#95;", "[", "&#91;", "]", "&#93;",
	"\\", "&#92;", "~", "&#126;", "@", "&#64;", ":", "&#58;")

func markdownCode(s string) string { return "<code>" + markdownText(s) + "</code>" }
