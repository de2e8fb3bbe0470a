package htmlreport

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"narseal/cmd/narseal/internal/report"
	"narseal/filter"
	"narseal/macho"
	"narseal/nar"
)

func newReport(out io.Writer, budget *report.Budget) *HTML {
	return New(Options{Out: out, Commit: func() error { return nil }, Inputs: []string{"in"}, Version: "1", Budget: budget})
}

func staleSlice(pages int) macho.Slice {
	return macho.Slice{Arch: "arm64", Status: macho.StatusStale, CodeDirectories: []macho.CodeDirectory{
		{PageSize: 4096, Slots: 1 << 20, Stale: pagesFrom(0, pages*1024, 1024)},
	}}
}

// However many slices there are, the report has a bounded number of rows, invalid ones first, and of drawings, and says
// what it leaves out.
func TestRowsAreBounded(t *testing.T) {
	var out bytes.Buffer
	h := newReport(&out, nil)
	dir := nar.NewPath("/")
	for i := range maxRows + 7 {
		h.Add(&report.Item{Input: "in", Signature: filter.Signature{Path: dir.Join(fmt.Sprint("valid", i)), Slice: macho.Slice{Status: macho.StatusValid}}})
	}
	for i := range maxDrawn + 5 {
		h.Add(&report.Item{Input: "in", Signature: filter.Signature{Path: dir.Join(fmt.Sprint("stale", i)), Slice: staleSlice(3)}})
	}
	h.Omit(1)
	for range maxErrors + 3 {
		h.Fail(errors.New(strings.Repeat("e", maxError+10)))
	}
	if err := h.End(&report.Tally{Invalid: maxDrawn + 5}); err != nil {
		t.Fatal(err)
	}
	html := out.String()
	for text, want := range map[string]int{
		"<tr data-status=\"stale\">":       maxDrawn + 5,
		"<tr data-status=":                 maxRows,
		"<details":                         maxDrawn,
		"<a href=\"#slice":                 maxDrawn,
		"<details class=\"slice\" open":    maxOpen,
		"The pages of 5 further slices":    1,
		"<li>" + strings.Repeat("e", 4096): maxErrors,
		"<li>and 3 more</li>":              1,
		fmt.Sprintf("<p>%d further slices are not shown", 7+maxDrawn+5+1): 1,
	} {
		if got := strings.Count(html, text); got != want {
			t.Errorf("%.60q is there %d times, want %d", text, got, want)
		}
	}
	if n := strings.Index(html, "/valid0<"); n < strings.LastIndex(html, "<tr data-status=\"stale\">") {
		t.Error("a valid slice comes before an invalid one")
	}
}

// Nor has it more than a bounded number of marks, each of which takes a hundred bytes.
func TestMarksAreBounded(t *testing.T) {
	var out bytes.Buffer
	h := newReport(&out, nil)
	for range maxDrawn {
		h.Add(&report.Item{Input: "in", Signature: filter.Signature{Path: nar.NewPath("/x"), Slice: staleSlice(maxCells)}})
	}
	if err := h.End(&report.Tally{}); err != nil {
		t.Fatal(err)
	}
	html := out.String()
	if n := strings.Count(html, "<g class=\"badpage\">"); n > maxMarks || n < maxMarks-maxCells || len(html) > 32<<20 ||
		!strings.Contains(html, fmt.Sprintf("The pages of %d further slices", maxDrawn-n/maxCells)) {
		t.Errorf("%d marks in %d bytes", n, len(html))
	}
	if n := strings.Count(html, "<tr data-status="); n != maxDrawn {
		t.Errorf("%d rows, want %d", n, maxDrawn)
	}
}

// Rows count against the run's budget, and long paths are shown by their end.
func TestRowsAreBudgeted(t *testing.T) {
	var out bytes.Buffer
	h := newReport(&out, report.NewBudget(3_000))
	path := nar.NewPath("/")
	for range 16_000 {
		path = path.Join(strings.Repeat("d", 255))
	}
	for range 100 {
		h.Add(&report.Item{Input: "in", Signature: filter.Signature{Path: path, Slice: macho.Slice{Status: macho.StatusStale}}})
	}
	if err := h.End(&report.Tally{}); err != nil {
		t.Fatal(err)
	}
	if html := out.String(); len(html) > 40_000 || strings.Count(html, "<tr data-status=") != 2 || !strings.Contains(html, "98 further slices are not shown") {
		t.Errorf("%d bytes, %d rows", len(html), strings.Count(html, "<tr data-status="))
	}
}

type fullWriter struct{}

func (fullWriter) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestEndFails(t *testing.T) {
	if err := newReport(fullWriter{}, nil).End(&report.Tally{}); !errors.Is(err, io.ErrShortWrite) || !strings.HasPrefix(err.Error(), "--html: ") {
		t.Errorf("error %v", err)
	}
	h := newReport(io.Discard, nil)
	h.o.Commit = func() error { return io.ErrClosedPipe }
	if err := h.End(&report.Tally{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("error %v", err)
	}
}

// The store path of a bad image is named: that of an archive, and that in which a file lies whose name does not say it. No
// name becomes markup.
func TestStorePathIsNamed(t *testing.T) {
	const base = "/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-"
	var out bytes.Buffer
	h := newReport(&out, nil)
	h.Add(&report.Item{Input: "in", StorePath: base + "archive", Signature: filter.Signature{Path: nar.NewPath("/bin/x"), Slice: staleSlice(1)}})
	h.Add(&report.Item{Input: "in", OnDisk: true, InStore: base + "file", Signature: filter.Signature{Path: nar.NewPath("result/bin/x"), Slice: staleSlice(1)}})
	h.Add(&report.Item{Input: "in", StorePath: base + "<script>\u202e\x1b[0m", Signature: filter.Signature{Path: nar.NewPath("/<img src=x>"), Slice: staleSlice(1)}})
	h.Add(&report.Item{Input: "in", Signature: filter.Signature{Path: nar.NewPath("/nowhere"), Slice: staleSlice(1)}})
	if err := h.End(&report.Tally{Invalid: 4}); err != nil {
		t.Fatal(err)
	}
	html := out.String()
	for text, want := range map[string]int{
		">" + base + "archive/bin/x</a></td>":                                             1,
		">result/bin/x</a><span class=\"store\">in " + base + "file</span></td>":          1,
		"<p>Store path: <span class=\"file\">" + base + "file</span></p>":                 1,
		">&#34;" + base + "&lt;script&gt;\\u202e\\x1b[0m/&lt;img src=x&gt;&#34;</a></td>": 1,
		"Store path: ": 1,
		"\u202e":       0,
		"\x1b":         0,
		"<img":         0,
	} {
		if got := strings.Count(html, text); got != want {
			t.Errorf("%q is there %d times, want %d", text, got, want)
		}
	}
}
