package main

import (
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"narseal/filter"
	"narseal/macho"
)

//go:embed picture/page.html
var pictureHTML string

//go:embed picture/page.css
var pictureCSS string

//go:embed picture/page.js
var pictureJS string

// picture is what verify --html writes: one page for a person, which loads
// nothing and is readable without its script.
type picture struct {
	out    *output
	inputs []string
	slices []*pictureSlice
	errors []string
}

// pictureSlice is a row of the page's table, and what is drawn of it.
type pictureSlice struct {
	macho.Slice
	ID    int
	Name  string
	Stale int
	Open  bool
}

// Holds is for the template.
func (s *pictureSlice) Holds() bool { return s.Status.OK() }

// Maps is for the template.
func (s *pictureSlice) Maps() []*pageMap { return pageMaps(&s.Slice) }

// maxOpen is how many slices are shown at once.
const maxOpen = 20

func (p *picture) add(input, storePath string, loose bool, s filter.Signature) {
	if len(p.inputs) == 1 {
		input = "-" // it stands above
	}
	row := &pictureSlice{Slice: s.Slice, ID: len(p.slices) + 1, Name: printable(shownName(input, storePath, loose, s.Path))}
	row.Reason = printable(row.Reason)
	for _, d := range s.CodeDirectories {
		row.Stale += len(d.Stale) + len(d.StaleSpecial)
	}
	p.slices = append(p.slices, row)
}

func (p *picture) fail(err error) { p.errors = append(p.errors, err.Error()) }

type namedNumber struct{ Name, Value string }

func (p *picture) end(n *tally) error {
	// What is wrong comes first, also where no script runs.
	slices.SortStableFunc(p.slices, func(a, b *pictureSlice) int {
		return cmp.Compare(holdsLast(a), holdsLast(b))
	})
	var broken []*pictureSlice
	statuses := map[string]int{}
	for _, s := range p.slices {
		statuses[string(s.Status)]++
		if !s.Holds() {
			s.Open = len(broken) < maxOpen
			broken = append(broken, s)
		}
	}
	var byStatus []namedNumber
	for name, n := range statuses {
		byStatus = append(byStatus, namedNumber{name, humanize.Comma(int64(n))})
	}
	slices.SortFunc(byStatus, func(a, b namedNumber) int { return cmp.Compare(a.Name, b.Name) })
	verdict := n.verdict()
	data := struct {
		Policy      string
		Style       template.CSS
		Script      template.JS
		Tints       [tints]struct{}
		Cell, Pitch int
		Bad         bool
		Verdict     string
		Inputs      string
		Numbers     []namedNumber
		Errors      []string
		Statuses    []namedNumber
		Slices      []*pictureSlice
		Broken      []*pictureSlice
		Version     string
	}{
		Policy: fmt.Sprintf("default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'sha256-%s'; script-src 'sha256-%s'",
			sourceHash(pictureCSS), sourceHash(pictureJS)),
		Style: template.CSS(pictureCSS), Script: template.JS(pictureJS),
		Cell: cellSize, Pitch: cellPitch,
		Bad:     n.broken > 0 || n.failed > 0,
		Verdict: strings.ToUpper(verdict[:1]) + verdict[1:],
		Inputs:  strings.Join(p.inputs, ", "),
		Numbers: []namedNumber{
			{"Files", humanize.Comma(n.entries.Regular)},
			{"Signed images", humanize.Comma(n.images)},
			{"Slices", humanize.Comma(n.slices)},
			{"Do not hold", humanize.Comma(n.broken)},
			{"Stale slots", humanize.Comma(n.stale)},
			{"Hashed", humanize.IBytes(uint64(n.hashed))},
		},
		Errors: p.errors, Statuses: byStatus, Slices: p.slices, Broken: broken,
		Version: versionString(),
	}
	tmpl, err := template.New("page").Funcs(template.FuncMap{
		"hex": func(n int64) string { return fmt.Sprintf("%#x", n) },
	}).Parse(pictureHTML)
	if err == nil {
		err = tmpl.Execute(p.out, data)
	}
	if err == nil {
		err = p.out.commit()
	}
	if err != nil {
		return fmt.Errorf("--html: %w", err)
	}
	return nil
}

func holdsLast(s *pictureSlice) int {
	if s.Holds() {
		return 1
	}
	return 0
}

// sourceHash is how a Content-Security-Policy names what may run.
func sourceHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}
