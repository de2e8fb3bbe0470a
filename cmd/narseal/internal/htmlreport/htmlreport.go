// Package htmlreport writes the HTML report of verify: one file that loads nothing and is readable without its script.
package htmlreport

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"narseal/cmd/narseal/internal/report"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/macho"
	"narseal/macho/bundle/resources"
)

//go:embed report.html
var reportHTML string

//go:embed report.css
var reportCSS string

//go:embed report.js
var reportJS string

// HTML is a list that End writes as an HTML report.
type HTML struct {
	o       Options
	invalid []*slice
	valid   []*slice
	omitted int64    // slices
	errors  []string // at most maxErrors
	more    int64    // errors
}

// Options describe the input and the output of a report.
type Options struct {
	Out     io.Writer
	Commit  func() error // called after the report is written
	Inputs  []string     // as given by the user
	Version string       // of narseal
	Budget  *report.Budget
}

// New returns an empty report.
func New(o Options) *HTML { return &HTML{o: o} }

// slice is a row of the report's table. Invalid slices also have a drawing of their pages.
type slice struct {
	macho.Slice
	ID        int
	Name      string
	StorePath string // that contains the file; empty if it is unknown, or if Name begins with it
	Listed    bool   // the table also shows StorePath
	Stale     int
	Open      bool
	Drawn     bool
}

// Maps returns the drawings of the slice's pages. The template calls it.
func (s *slice) Maps() []*pageMap { return pageMaps(&s.Slice) }

// Files describes problems with the files of the bundle. The template calls it.
func (s *slice) Files() []string { return report.DescribeBundle(&s.Slice, resources.MaxProblems+2) }

// Browsers are slow to show a report that exceeds these limits.
const (
	// maxRows is the maximum number of rows in the table. Invalid slices come first.
	maxRows = 20_000
	// maxDrawn is the maximum number of invalid slices whose pages are drawn, and maxMarks that of the bad pages marked
	// in them.
	maxDrawn = 1000
	maxMarks = 100_000
	// maxOpen is the number of drawings that are unfolded at first.
	maxOpen   = 20
	maxErrors = 1000
	// maxError is the maximum length of an error's text, in bytes.
	maxError = 4096
)

// Add adds a slice, or counts it as omitted if a limit is reached.
func (h *HTML) Add(i *report.Item) {
	item := *i
	if len(h.o.Inputs) == 1 {
		item.Input = "-" // the header shows it
	}
	list := &h.invalid
	if i.OK() {
		list = &h.valid
	}
	row := &slice{Slice: i.Slice, Name: item.Name()}
	if p := cmp.Or(i.StorePath, i.InStore); !strings.HasPrefix(row.Name, p) {
		row.StorePath, row.Listed = terminal.Printable(p), !strings.Contains(row.Name, path.Base(p))
	}
	row.Name = terminal.Printable(row.Name)
	row.Reason = terminal.Printable(row.Reason)
	if len(*list) == maxRows || !h.o.Budget.Take(report.Memory(&row.Slice)+len(row.Name)+len(row.StorePath)) {
		h.omitted++
		return
	}
	for _, d := range i.CodeDirectories {
		row.Stale += len(d.Stale) + len(d.StaleSpecial)
	}
	*list = append(*list, row)
}

// Omit counts slices that were not passed to Add.
func (h *HTML) Omit(n int64) { h.omitted += n }

// Fail adds an error.
func (h *HTML) Fail(err error) {
	if len(h.errors) == maxErrors {
		h.more++
		return
	}
	text := err.Error()
	if len(text) > maxError {
		text = text[:maxError] + "…"
	}
	h.errors = append(h.errors, strings.Clone(text))
}

type namedNumber struct{ Name, Value string }

// End writes the report.
func (h *HTML) End(n *report.Tally) error {
	// Invalid slices come first, even if no script runs.
	rows := slices.Concat(h.invalid, h.valid)
	if more := len(rows) - maxRows; more > 0 {
		rows = rows[:maxRows]
		h.omitted += int64(more)
	}
	statuses := map[string]int{}
	for i, s := range rows {
		statuses[string(s.Status)]++
		s.ID = i + 1
	}
	drawn := h.draw()
	var byStatus []namedNumber
	for name, n := range statuses {
		byStatus = append(byStatus, namedNumber{name, humanize.Comma(int64(n))})
	}
	slices.SortFunc(byStatus, func(a, b namedNumber) int { return cmp.Compare(a.Name, b.Name) })
	verdict := n.Verdict()
	err := h.write(&data{
		Policy: fmt.Sprintf("default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'sha256-%s'; script-src 'sha256-%s'",
			sourceHash(reportCSS), sourceHash(reportJS)),
		Style: template.CSS(reportCSS), Script: template.JS(reportJS),
		Cell: cellSize, Pitch: cellPitch,
		Bad:     n.Invalid > 0 || n.Failed > 0,
		Verdict: strings.ToUpper(verdict[:1]) + verdict[1:],
		Meaning: meaning(n),
		Inputs:  inputs(h.o.Inputs),
		Notes:   n.Mend.Notes(), Commands: n.Mend.Commands(),
		Numbers: []namedNumber{
			{"Files", humanize.Comma(n.Entries.Regular)},
			{"Signed images", humanize.Comma(n.Images)},
			{"Slices", humanize.Comma(n.Slices)},
			{"Invalid", humanize.Comma(n.Invalid)},
			{"Stale slots", humanize.Comma(n.Stale)},
			{"Hashed", humanize.IBytes(uint64(n.Hashed))},
		},
		Errors: h.errors, MoreErrors: h.more,
		Statuses: byStatus, Slices: rows, Omitted: h.omitted,
		Invalid: h.invalid[:drawn], Undrawn: len(h.invalid) - drawn,
		Version: h.o.Version,
	})
	if err != nil {
		return fmt.Errorf("--html: %w", err)
	}
	return nil
}

// meaning explains in one sentence what the verdict means for users of the files.
func meaning(n *report.Tally) string {
	switch {
	case n.Invalid > 0:
		return "A Mac kills a program when it reads a part of a file that does not match the file's signature, or refuses to start it."
	case n.Failed > 0:
		return "Nothing invalid was found in what could be read."
	case n.Slices > 0:
		return "Every part of every signed file matches its signature."
	}
	return "No file is signed, so there is nothing that a Mac would check."
}

// maxInputs is the number of inputs that are named.
const maxInputs = 3

// inputs names the inputs, for display.
func inputs(names []string) string {
	var shown []string
	for _, name := range names[:min(len(names), maxInputs)] {
		if name == "-" {
			name = "stdin"
		}
		shown = append(shown, terminal.Printable(name))
	}
	s := strings.Join(shown, ", ")
	if more := len(names) - maxInputs; more > 0 {
		s += fmt.Sprintf(" and %s more", humanize.Comma(int64(more)))
	}
	return s
}

// draw selects the invalid slices to draw, and returns their number.
func (h *HTML) draw() int {
	marks := 0
	for i, s := range h.invalid {
		for _, d := range s.CodeDirectories {
			marks += min(len(d.Stale), maxCells)
		}
		if i == maxDrawn || marks > maxMarks {
			return i
		}
		s.Drawn, s.Open = true, i < maxOpen
	}
	return len(h.invalid)
}

// data holds the values for the template.
type data struct {
	Policy      string
	Style       template.CSS
	Script      template.JS
	Tints       [tints]struct{}
	Cell, Pitch int
	Bad         bool
	Verdict     string
	Meaning     string
	Inputs      string
	Notes       []string
	Commands    []string
	Numbers     []namedNumber
	Errors      []string
	MoreErrors  int64
	Statuses    []namedNumber
	Slices      []*slice
	Omitted     int64
	Invalid     []*slice // only those that are drawn
	Undrawn     int      // number of invalid slices that are not drawn
	Version     string
}

func (h *HTML) write(d *data) error {
	tmpl, err := template.New("report").Funcs(template.FuncMap{
		"hex": func(n int64) string { return fmt.Sprintf("%#x", n) },
	}).Parse(reportHTML)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(h.o.Out)
	if err := tmpl.Execute(w, d); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return h.o.Commit()
}

// sourceHash returns the hash by which a Content-Security-Policy allows a script or a style.
func sourceHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}
