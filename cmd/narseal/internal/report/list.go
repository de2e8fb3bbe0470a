package report

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/dustin/go-humanize"

	"narseal/cmd/narseal/internal/jsontext"
	"narseal/cmd/narseal/internal/terminal"
	"narseal/filter"
)

// A List prints slices as a command finds them. End returns the first write error.
type List interface {
	Add(*Item)
	// Omit counts slices that did not fit into the budget, so that Add was not called.
	Omit(n int64)
	// Fail records an input that could not be read. The error was already printed.
	Fail(error)
	End(*Tally) error
}

// Item is a slice to be listed.
type Item struct {
	Input     string // as given by the user; "-" is stdin
	StorePath string // of the archive, in an export stream or a cache
	OnDisk    bool   // Path is a file on disk, not an entry of an archive
	InStore   string // the store path that contains a file on disk; empty if there is none or StorePath is set
	filter.Signature
}

// Name returns the name of the slice's file, for display.
func (i *Item) Name() string {
	name := i.StorePath + i.Path.Short()
	if i.StorePath != "" {
		name = strings.TrimSuffix(name, "/") // the store path itself is the file
	}
	if !i.OnDisk && i.Input != "-" {
		name = i.Input + ": " + name
	}
	return name
}

// NewJSON returns a list of JSON objects, one per line.
func NewJSON(w io.Writer, b *Budget) List {
	return &jsonLines{w: &jsontext.Writer{Writer: bufio.NewWriter(w)}, budget: b}
}

// TableOptions are the options of a table.
type TableOptions struct {
	All   bool // list valid signatures, too
	Quiet bool // print only problems
	Style terminal.Style
}

// NewTable returns a list that prints a table.
func NewTable(w io.Writer, o TableOptions) List {
	return &table{w: bufio.NewWriter(w), TableOptions: o}
}

// jsonLines writes an object for each slice, one per line.
type jsonLines struct {
	w       *jsontext.Writer
	budget  *Budget
	omitted int64
}

func (l *jsonLines) Add(i *Item) {
	if !isFree(i.Path) && !l.budget.TakePath(i.Path) {
		l.omitted++
		return
	}
	l.line(struct {
		Input     string `json:"input"`
		StorePath string `json:"storePath,omitempty"`
		signatureFields
	}{jsontext.String(i.Input), jsontext.String(i.StorePath), newSignatureFields(&i.Signature)})
}

func (l *jsonLines) line(v any) {
	_ = l.w.Encode(v)
	_ = l.w.WriteByte('\n') // the writer keeps the error
}

func (l *jsonLines) Omit(n int64) { l.omitted += n }

func (l *jsonLines) Fail(error) {}

func (l *jsonLines) End(*Tally) error {
	if l.omitted > 0 {
		l.line(struct {
			Omitted int64 `json:"omitted"`
		}{l.omitted})
	}
	return l.w.Flush()
}

// omission describes how many slices a list leaves out.
func omission(n int64) string {
	return fmt.Sprintf("%s left out: they would take more than %s of memory", Plural(n, "slice", "slices"), humanize.IBytes(DefaultBudget))
}

// Lists combines several lists into one.
type Lists []List

// Add passes a slice to each list.
func (ls Lists) Add(i *Item) {
	for _, l := range ls {
		l.Add(i)
	}
}

// Omit passes a number to each list.
func (ls Lists) Omit(n int64) {
	for _, l := range ls {
		l.Omit(n)
	}
}

// Fail passes an error to each list.
func (ls Lists) Fail(err error) {
	for _, l := range ls {
		l.Fail(err)
	}
}

// End ends each list.
func (ls Lists) End(n *Tally) error {
	var errs []error
	for _, l := range ls {
		errs = append(errs, l.End(n))
	}
	return errors.Join(errs...)
}

// Waiting holds the slices of an archive in an export stream until its store path is known, which follows the archive.
type Waiting struct {
	budget  *Budget
	list    []filter.Signature
	taken   int
	omitted int64
}

// NewWaiting returns an empty Waiting that b limits.
func NewWaiting(b *Budget) *Waiting { return &Waiting{budget: b} }

// Add adds a slice, or counts it as omitted if it does not fit.
func (w *Waiting) Add(s filter.Signature) {
	n := Memory(&s.Slice)
	if !w.budget.Take(n) {
		w.omitted++
		return
	}
	w.taken += n
	w.list = append(w.list, s)
}

// Flush passes the slices to list, and empties the Waiting.
func (w *Waiting) Flush(list List, input, storePath string) {
	for i := range w.list {
		list.Add(&Item{Input: input, StorePath: storePath, Signature: w.list[i]})
	}
	if w.omitted > 0 {
		list.Omit(w.omitted)
	}
	w.budget.Give(w.taken)
	*w = Waiting{budget: w.budget}
}
