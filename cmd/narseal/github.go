package main

import (
	"bufio"
	"cmp"
	"fmt"
	"html"
	"io"
	"os"
	"strings"

	"narseal/filter"
)

// github tells of slices as GitHub Actions shows it: an annotation for each
// that does not hold, and a summary of the job.
//
// Sources: docs.github.com, "Workflow commands for GitHub Actions"; for the
// escapes, actions/toolkit packages/core/src/command.ts.
type github struct {
	w       *bufio.Writer
	summary string // the file that GITHUB_STEP_SUMMARY names; empty: none
	rows    []githubRow
	more    int
	errors  []string
}

type githubRow struct{ name, arch, status, what string }

// maxSummaryRows keeps a summary well under the MiB that GitHub takes of a
// step. A name may have 4 KiB.
const maxSummaryRows = 100

func newGithub(w io.Writer) *github {
	return &github{w: bufio.NewWriter(w), summary: os.Getenv("GITHUB_STEP_SUMMARY")}
}

func (g *github) add(input, storePath string, loose bool, s filter.Signature) {
	if s.Status.OK() {
		return
	}
	name := shownName(input, storePath, loose, s.Path)
	what := describeSlots(&s.Slice)
	if len(g.rows) < maxSummaryRows {
		g.rows = append(g.rows, githubRow{name, s.Arch, string(s.Status), strings.Join(what, "; ")})
	} else {
		g.more++
	}
	file := input
	if loose {
		file = s.Path
	}
	message := fmt.Sprintf("%s: %s slice at offset %d: %s", printable(name), s.Arch, s.Offset, cmp.Or(s.Reason, string(s.Status)))
	g.annotate(file, "signature: "+string(s.Status), strings.Join(append([]string{message}, what...), "\n"))
}

func (g *github) fail(err error) {
	g.errors = append(g.errors, err.Error())
	g.annotate("", "narseal", harmless(err.Error()))
}

// annotate writes an error about a file, or about none where that is empty,
// stdin, or nothing that a log should show.
func (g *github) annotate(file, title, message string) {
	properties := "title=" + githubProperty(title)
	if file != "" && file != "-" && isHarmless(file) {
		properties = "file=" + githubProperty(file) + "," + properties
	}
	fmt.Fprintf(g.w, "::error %s::%s\n", properties, githubData(message))
	_ = g.w.Flush() // as it comes; end returns the error
}

// end also writes the summary, if there is a file for it.
func (g *github) end(n *tally) error {
	fmt.Fprintln(g.w, n)
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

func (g *github) markdown(n *tally) string {
	var b strings.Builder
	fmt.Fprintf(&b, "### Signatures\n\n%s\n", n)
	if len(g.rows) > 0 {
		b.WriteString("\n| Status | File | Architecture | Slots |\n|---|---|---|---|\n")
	}
	for _, r := range g.rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.status, markdownCode(r.name), r.arch, markdownText(r.what))
	}
	if g.more > 0 {
		fmt.Fprintf(&b, "\nand %d more\n", g.more)
	}
	for i, e := range g.errors {
		if i == 0 {
			b.WriteString("\nNot everything could be read:\n\n")
		}
		if i == maxSummaryRows {
			fmt.Fprintf(&b, "- and %d more\n", len(g.errors)-i)
			break
		}
		fmt.Fprintf(&b, "- %s\n", markdownCode(e))
	}
	return b.String()
}

var (
	githubData     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace
	githubProperty = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C").Replace
)

// markdownText is s in a cell of a table: what Markdown would act on, and the
// bar between cells, as HTML.
func markdownText(s string) string {
	s = html.EscapeString(printable(s))
	return markdownActive.Replace(s)
}

var markdownActive = strings.NewReplacer("|", "&#124;", "`", "&#96;", "*", "&#42;", "_", "&#95;", "[", "&#91;", "]", "&#93;",
	"\\", "&#92;", "~", "&#126;", "@", "&#64;", ":", "&#58;")

func markdownCode(s string) string { return "<code>" + markdownText(s) + "</code>" }
