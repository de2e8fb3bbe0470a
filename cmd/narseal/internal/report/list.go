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

// A List prints slices as a command finds them. End returns the first error of writing.
type List interface {
	Add(*Item)
	// Omit counts slices that were dropped before Add, for lack of room.
	Omit(n int64)
	// Fail records an input that could not be read. The error is printed already.
	Fail(error)
	End(*Tally) error
}

// Item is a slice to be listed.
type Item struct {
	Input     string // as the user gave it; "-" is stdin
	StorePath string // of the archive, in an export stream or a cache
	OnDisk    bool   // the Path is that of a file, not of an entry in the input
	InStore   string // the store path that a file on disk is in; empty if it is in none, or StorePath says it
	filter.Signature
}

// Name returns the name of the slice's file, for display.
func (i *Item) Name() string {
	name := i.StorePath + i.Path.Short()
	if i.StorePath != "" {
		name = strings.TrimSuffix(name, "/") // of a store path that is a file
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

// TableOptions say how a list looks as a table.
type TableOptions struct {
	All   bool // valid signatures, too
	Quiet bool // nothing but problems
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

// freePath is how long a path may be that counts for nothing where it is printed at once: PATH_MAX of Linux. No program
// can open a file by a longer one.
const freePath = 4096

func (l *jsonLines) Add(i *Item) {
	if i.Path.Len() > freePath && !l.budget.TakePath(i.Path) {
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

// omission says how many slices a list leaves out.
func omission(n int64) string {
	return fmt.Sprintf("%s left out: they would take more than %s of memory", Plural(n, "slice", "slices"), humanize.IBytes(DefaultBudget))
}

// Lists is several lists as one.
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

// Waiting keeps the slices of an archive in an export stream, whose store path comes after it.
type Waiting struct {
	budget  *Budget
	list    []filter.Signature
	taken   int
	omitted int64
}

// NewWaiting returns an empty Waiting that b bounds.
func NewWaiting(b *Budget) *Waiting { return &Waiting{budget: b} }

// Add keeps a slice, if there is room for it.
func (w *Waiting) Add(s filter.Signature) {
	n := Memory(&s.Slice)
	if !w.budget.Take(n) {
		w.omitted++
		return
	}
	w.taken += n
	w.list = append(w.list, s)
}

// Flush lists what was kept of an archive in an input, and is empty after that.
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
